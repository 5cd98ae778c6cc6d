#!/bin/bash
# Proves, inside the finished image, that it is what it is said to be.
set -euo pipefail

offered=(
    curl firewalld gcc gcc-c++ git iproute iptables logrotate make nginx openssh-clients openssh-server
    policycoreutils-python-utils postgresql-server procps-ng python3-firewall python3-libselinux python3.11
    python3.11-devel python3.11-pip rabbitmq-server selinux-policy-targeted tar telnet tree unzip vim
)

fail() { echo "stand-in: $*" >&2 && exit 1; }

grep --quiet 'EL9 stand-in' /etc/os-release || fail 'os-release does not say that this is a stand-in'
rpm --query --quiet systemd dnf || fail 'the RPM database lacks systemd or dnf'
for command in python3.11 unzip gcc dpkg apt-get; do
    ! type -P "$command" >/dev/null || fail "$command is in the image"
done
# Names, dependencies and conflicts between files: all but the installation itself.
dnf --quiet --assumeyes --setopt=tsflags=test install "${offered[@]}" >/dev/null ||
    fail 'dnf cannot install what it offers'
