#!/bin/bash
# Installs what the project needs on this machine, and says what it does.
#   setup.sh controller   .venv: Ansible, Molecule and the linters, from requirements.txt
#   setup.sh app          .venv-app: the app's own requirements and its tests'
#   setup.sh services     RabbitMQ, PostgreSQL and promtool, for the app's tests
#   setup.sh testbed      podman, and what the test hosts' image is built with
#   setup.sh browser      Chromium, to look at the page of verify.yml
# What is there already is left alone, so a second run takes no time.
set -euo pipefail
PATH+=:/usr/sbin:/sbin # where Debian has rabbitmqctl and runc, and an ordinary user does not look
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

say() { echo "setup: $*" >&2; }
fail() { say "$*" && exit 1; }
as_root=()
lock_patience=${LOCK_PATIENCE:-600} # seconds that another run of the package manager is waited for

have() { type -P "$1" >/dev/null; }

# package_manager NAME COMMAND...: run it. A fresh machine updates itself for its first minutes: where another run of the
# package manager holds its lock, that is waited for. Neither apt's wait nor dnf's covers all locks and ends by itself.
package_manager() {
    local said status holder waited_for="" deadline=$((SECONDS + lock_patience)) name=$1
    shift
    while true; do
        said=$("${as_root[@]}" env LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@" 2>&1 >/dev/null) && status=0 || status=$?
        holder=$(sed -nE 's/.*(held by process|already locked by|running as pid) ([0-9]+( \([^)]*\))?).*/process \2/p' <<<"$said")
        [[ -n $holder || ! $said =~ "Could not get lock"|"create transaction lock" ]] || holder="another process"
        if ((status == 0)) || [[ -z $holder ]]; then
            [[ -z $said ]] || echo "$said" >&2
            return "$status"
        fi
        ((SECONDS < deadline)) ||
            fail "$holder has held the lock of $name for $lock_patience seconds: let it end, or end it, then run this again."
        [[ $holder == "$waited_for" ]] || say "waiting for $holder, which holds the lock of $name"
        waited_for=$holder
        sleep 2
    done
}

# A server that a package brings is for the tests alone: Debian's policy-rc.d keeps it from starting here. It is there for
# this installation only, and not while another one is waited for.
apt_install='policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { trap "rm --force $policy" EXIT; printf "#!/bin/sh\nexit 101\n" >$policy; chmod 755 $policy; }
    apt-get -qq install --yes --no-install-recommends "$@"'

# install_packages "APT PACKAGES" "DNF PACKAGES"
install_packages() {
    local apt dnf
    read -ra apt <<<"$1"
    read -ra dnf <<<"$2"
    if ((EUID)); then
        { have sudo && sudo true; } || fail "root is needed: ask for $1 (apt-get) or $2 (dnf) to be installed."
        as_root=(sudo)
    fi
    if have apt-get; then
        say "installing $1"
        package_manager apt apt-get -qq update || say "the package lists could not be updated; trying with those at hand"
        package_manager apt sh -c "$apt_install" sh "${apt[@]}" || fail "could not install $1."
    elif have dnf; then
        say "installing $2"
        package_manager dnf dnf --quiet --assumeyes --setopt=exit_on_lock=true install "${dnf[@]}" ||
            fail "could not install $2: enable a repository that has it (EPEL, or RabbitMQ's own), or install it by hand."
    else
        fail "this machine has neither apt-get nor dnf: install what Debian calls $1."
    fi
}

# The first Python that this project's ansible-core runs on, if there is one.
python() {
    local candidate wanted='(3, 11) <= sys.version_info < (3, 14)'
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        if "${candidate:-false}" -c "import sys, venv, ensurepip; sys.exit(not $wanted)" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

have_headers() { [[ -e $("$(python)" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]]; }

have_postgresql() { have initdb || compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; }

# venv FOLDER FILE...: a virtual environment with what the requirement files lock, made anew when one of them changes.
venv() {
    local folder=$1 stamp=$1/locked.sha256 file
    shift
    [[ ! -f $stamp ]] || ! sha256sum --check --status "$stamp" || return 0
    python >/dev/null || install_packages "python3 python3-venv" "python3.11"
    python >/dev/null || fail "no Python 3.11, 3.12 or 3.13 with its venv module is here: install one, or name it in PYTHON."
    say "making $folder from $*"
    rm -rf "$folder"
    "$(python)" -m venv "$folder"
    # uWSGI is for Python alone, as on the hosts: compiled here, as pip's cache may have one that is for more.
    for file in "$@"; do
        UWSGI_PROFILE=pyonly "$folder/bin/pip" install --quiet --no-compile --disable-pip-version-check --require-hashes \
            $([[ $file != files/payment/* ]] || echo --no-cache-dir) --requirement "$file"
    done
    sha256sum "$@" >"$stamp"
}

for part in "$@"; do
    case $part in
    controller)
        venv .venv requirements.txt
        ;;
    app)
        { have gcc && have_headers; } || install_packages "gcc libc6-dev python3-dev" "gcc python3.11-devel"
        have_headers || fail "$(python) lacks its header files: install them, or name another Python in PYTHON."
        venv .venv-app files/payment/requirements.txt tests/app/requirements.txt
        ;;
    services)
        have rabbitmqctl || install_packages rabbitmq-server rabbitmq-server
        # promtool: for dnf it is in EPEL.
        have promtool || install_packages prometheus golang-github-prometheus
        have_postgresql || install_packages postgresql postgresql-server
        ;;
    testbed)
        have curl || install_packages curl curl
        ((EUID == 0)) || sudo -n true 2>/dev/null ||
            fail "the test hosts need root: run this as root, or as a user whose sudo asks for no password."
        have ssh-keygen || install_packages openssh-client openssh-clients
        have podman || install_packages "podman runc netavark aardvark-dns conmon uidmap iptables nftables" podman
        ! have apt-get || have mmdebstrap || install_packages "mmdebstrap debian-archive-keyring" ""
        ;;
    browser)
        have chromium || have chromium-browser || install_packages chromium chromium
        ;;
    *) fail "no such part: $part" ;;
    esac
done
