# What image.sh and snapshot.sh share. Images are named by a hash of all that goes into them, so what is there is right.
shopt -s inherit_errexit
prefix=localhost/skillupworks-payment

fail() { say "$*" && exit 1; }
present() { ./podman image exists "$1"; }
hash_of() { sha256sum | cut --characters=1-12; }

# An image that a container still uses stays as well.
remove_all_but() {
    local image
    for image in $(./podman images --filter "reference=${1%:*}" --format '{{.Repository}}:{{.Tag}}'); do
        [[ $image == "$1" ]] || ./podman rmi "$image" >/dev/null 2>&1 || :
    done
}

# locked FILE FUNCTION...: one at a time. What it starts does not inherit the lock: it could outlive the script.
locked() {
    exec 9<"$1"
    flock 9
    "${@:2}" 9<&-
}
