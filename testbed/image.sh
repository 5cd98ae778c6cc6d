#!/bin/bash
# Prints the reference of an image for test hosts, and builds it first where there is none. Progress: standard error.
#
# EL9_IMAGE   the base to use: an EL9 image with systemd, or "standin" for the stand-in that is built here.
#             Empty: the image below if its registry answers, else the stand-in.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

default_base=quay.io/almalinuxorg/9-init:9
answer_within=3 # seconds, for a registry
pull_within=600 # seconds, for an image
prefix=localhost/skillupworks-payment

say() { echo "test host image: $*" >&2; }
fail() { say "$*" && exit 1; }
present() { ./podman image exists "$1"; }
hash_of() { sha256sum | cut --characters=1-12; }

# Asked by hand first: podman tries for minutes to reach a registry that does not answer.
pull() {
    if [[ $1 == *.*/* ]]; then
        curl --silent --output /dev/null --max-time "$answer_within" "https://${1%%/*}/v2/" || return
    fi
    timeout "$pull_within" ./podman pull --quiet "$1" >/dev/null 2>&1
}

# An image that a container still uses stays as well.
remove_all_but() {
    local image
    for image in $(./podman images --filter "reference=${1%:*}" --format '{{.Repository}}:{{.Tag}}'); do
        [[ $image == "$1" ]] || ./podman rmi "$image" >/dev/null 2>&1 || :
    done
}

# Only a complete and checked image gets its final name: nothing else is taken for a cached one.
build_standin() {
    local unchecked=$prefix/el9-standin:unchecked as_root=()
    ((EUID == 0)) || as_root=(sudo -n)
    work=$(mktemp --directory)
    trap '"${as_root[@]}" rm --recursive --force --one-file-system "$work"' EXIT

    if ! "${as_root[@]}" unshare --mount standin/build.sh "$work" | ./podman import --quiet - "$unchecked" >/dev/null; then
        log=$(mktemp --suffix=-el9-standin.log)
        cat "$work/build.log" >"$log"
        tail --lines=20 "$log" >&2
        fail "the stand-in could not be built, see $log"
    fi
    ./podman run --rm --interactive "$unchecked" bash -s <standin/check.sh
    ./podman tag "$unchecked" "$1"
    remove_all_but "$1"
}

# One build at a time.
exec 9<image.sh
flock 9

standin=$prefix/el9-standin:$(find standin -type f ! -name README.md -exec sha256sum {} + | sort | hash_of)
base=${EL9_IMAGE:-$default_base}
if [[ $base == standin ]]; then
    base=$standin
elif ! present "$base" && ! pull "$base"; then
    [[ -z ${EL9_IMAGE:-} ]] || fail "EL9_IMAGE=$EL9_IMAGE is not here and cannot be pulled."
    base=$standin
fi

description=$base
[[ $base != "$standin" ]] || description='EL9 stand-in (Debian 12 payload, NOT RHEL)'
if [[ $base == "$standin" ]] && ! present "$base"; then
    type -P mmdebstrap >/dev/null ||
        fail 'no EL9 image can be had, and without mmdebstrap (Debian, Ubuntu) there is no stand-in either.'
    say "$description, to be built (about two minutes)"
    build_standin "$base"
fi

image=$prefix/testhost:$({ ./podman image inspect --format '{{.Id}}' "$base" && cat Containerfile; } | hash_of)
if present "$image"; then
    say "$description, cached"
else
    say "$description, test host to be built"
    ./podman build --quiet --layers=false --build-arg "BASE=$base" --tag "$image" --file Containerfile . >/dev/null
    remove_all_but "$image"
fi
echo "$image"
