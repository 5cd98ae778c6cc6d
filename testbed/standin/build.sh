#!/bin/bash
# Builds the EL9 stand-in and writes its root file system to standard output, as a tar archive.
# usage: unshare --mount build.sh FOLDER     (as root; FOLDER is empty, its owner removes it)
# In a mount namespace of its own, no mount outlives the build, whatever ends it.
set -euo pipefail

suite=bookworm
work=$(readlink -f "$1")
here=$(dirname "$(readlink -f "$0")")
log=$work/build.log

# In memory it takes half the time. The log stays outside, to be read after a failure.
mkdir "$work/root"
if (($(awk '/^MemAvailable:/ {print $2}' /proc/meminfo) >= 8 * 1024 * 1024)); then
    mount -t tmpfs -o mode=755 tmpfs "$work/root"
fi

# File descriptor 3 is for progress, here and in the hooks; everything else goes to the log.
exec 3>&2 2>"$log"
echo "stand-in: minimal Debian $suite" >&3

# No mirror is named: mmdebstrap takes its defaults.
TMPDIR=$work/root mmdebstrap --mode=root --variant=minbase --format=tar --dpkgopt=force-unsafe-io \
    --skip=cleanup,output/dev --hook-dir="$here/hooks" \
    --include="$(sed 's/ *#.*//; /^$/d' "$here/base.list" | paste --serial --delimiters=,)" \
    "$suite" -
