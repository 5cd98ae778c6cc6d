#!/bin/bash
# Prints the reference of an image of the test bed, and builds it first where there is none. Progress: standard error.
#   image.sh       for test hosts
#   image.sh s3    for its S3
#
# EL9_IMAGE   the base to use: an EL9 image with systemd, or "standin" for the stand-in that is built here.
#             Empty: the image below if its registry answers, else the stand-in.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
. ./common.bash

kind=${1:-testhost}
default_base=quay.io/almalinuxorg/9-init:9
answer_within=3 # seconds, for a registry
pull_within=600 # seconds, for an image

as_root=()
((EUID == 0)) || as_root=(sudo -n)

say() { echo "test host image: $*" >&2; }
found() { [[ $kind != testhost ]] || say "$*"; } # said once: another kind begins with this one

# Asked by hand first: podman tries for minutes to reach a registry that does not answer.
pull() {
    if [[ $1 == *.*/* ]]; then
        curl --silent --output /dev/null --max-time "$answer_within" "https://${1%%/*}/v2/" || return
    fi
    timeout "$pull_within" ./podman pull --quiet "$1" >/dev/null 2>&1
}

clean_up() {
    "${as_root[@]}" rm --recursive --force --one-file-system "$work"
    ./podman rmi "$unchecked" >/dev/null 2>&1 || :
}

# Only a complete and checked image gets its final name: nothing else is ever taken for a cached one.
build_standin() {
    local log
    unchecked=$prefix/el9-standin:unchecked-$$
    work=$(mktemp --directory)
    trap clean_up EXIT

    if ! "${as_root[@]}" unshare --mount standin/build.sh "$work" |
        ./podman import --quiet - "$unchecked" >/dev/null; then
        log=$(mktemp --suffix=-el9-standin.log)
        tail --lines=20 "$work/build.log" >&2
        cat "$work/build.log" >"$log"
        fail "the stand-in could not be built, see $log"
    fi
    ./podman run --rm --interactive --network=none "$unchecked" bash -s <standin/check.sh
    ./podman tag "$unchecked" "$1"
    remove_all_but "$1"
}

# build IMAGE BASE FOLDER [OPTION...]: from the Containerfile in that folder.
build() {
    local log
    log=$(mktemp --suffix=-image.log)
    if ! ./podman build --layers=false --build-arg "BASE=$2" --tag "$1" "${@:4}" --file "$3/Containerfile" "$3" >"$log" 2>&1; then
        tail --lines=20 "$log" >&2
        fail "$1 could not be built on $2, see $log"
    fi
    rm "$log"
    remove_all_but "$1"
}

# Prints the image of the test hosts.
testhost() {
    local standin base description image
    standin=$prefix/el9-standin:$(find standin -type f ! -name README.md -exec sha256sum {} + | sort | hash_of)
    base=${EL9_IMAGE:-$default_base}
    description=$base

    if [[ $base == standin ]]; then
        base=$standin
    elif ! present "$base" && ! pull "$base"; then
        [[ -z ${EL9_IMAGE:-} ]] || fail "EL9_IMAGE=$EL9_IMAGE is not here and cannot be pulled."
        found "$base is out of reach"
        base=$standin
    fi
    if [[ $base == "$standin" ]]; then
        description='EL9 stand-in (Debian 12 payload, NOT RHEL)'
        if ! present "$base"; then
            type -P mmdebstrap >/dev/null ||
                fail 'without a registry a stand-in is built; that needs mmdebstrap, from Debian or Ubuntu.'
            say "$description, to be built (one to two minutes)"
            build_standin "$base"
        fi
    fi

    image=$prefix/testhost:$({ ./podman image inspect --format '{{.Id}}' "$base" && cat Containerfile python/keep_compiled.py; } | hash_of)
    if present "$image"; then
        found "$description, cached"
    else
        say "$description, with what every test host has to be added"
        build "$image" "$base" .
    fi
    echo "$image"
}

# Prints the image of S3, which is made from that of the test hosts.
s3() {
    local base=$1 file image volumes=()
    for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do # what this machine reaches package indexes with
        [[ ! -e $file ]] || volumes+=(--volume "$file:$file:ro")
    done
    image=$prefix/s3:$({ echo "$base" && cat s3/Containerfile s3/requirements.txt s3/serve.sh; } | hash_of)
    present "$image" || { say "the test bed's S3, to be built" && build "$image" "$base" s3 "${volumes[@]}"; }
    echo "$image"
}

image=$(locked Containerfile testhost)
case $kind in
    testhost) ;;
    s3) image=$(locked s3/Containerfile s3 "$image") ;;
    *) fail "no such image: $kind" ;;
esac
echo "$image"
