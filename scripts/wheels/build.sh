#!/bin/bash
# Prints a folder with the app's locked requirements as wheels for the payment hosts, and builds it first where there
# is none: in a container of the test hosts' image, since a compiled wheel needs the C library it was built with.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
root=$PWD/../..

image=$("$root/testbed/image.sh")
inputs=("$root/files/payment/requirements.txt" requirements.txt in_container.sh)
cache=$root/.cache/wheels
wheels=$cache/$({ echo "$image" && cat "${inputs[@]}"; } | sha256sum | cut --characters=1-12)
mkdir --parents "$cache"
exec {lock}>"$cache/lock" && flock "$lock" # two that need them at once build them once
if [[ ! -d $wheels ]]; then
    echo "wheels: building them in $image (some minutes)" >&2
    partial=$(mktemp --directory --tmpdir="$cache")
    trap 'rm --recursive --force "$partial"' EXIT
    chmod 755 "$partial"
    mounts=(--volume "$partial:/wheels" --volume "$PWD/requirements.txt:/build/requirements.txt:ro"
        --volume "$root/files/payment/requirements.txt:/build/app.txt:ro")
    for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do # what this machine reaches package indexes with
        [[ ! -e $file ]] || mounts+=(--volume "$file:$file:ro")
    done
    "$root/testbed/podman" run --rm --interactive "${mounts[@]}" "$image" bash -s <in_container.sh >&2
    mv "$partial" "$wheels"
fi
readlink -f "$wheels"
