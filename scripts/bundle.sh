#!/bin/bash
# Packs a release into dist/: the zip, its hash in sha256sum's format, and its SBOM.
#   VERSION=1.2.0   in place of what files/payment/VERSION says
#   WHEELS=1        with the locked requirements as wheels, so that hosts need neither compiler nor package index
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

options=()
[[ -z ${VERSION:-} ]] || options+=(--version "$VERSION")
if [[ ${WHEELS:-} == 1 ]]; then
    wheels=$(scripts/wheels/build.sh)
    options+=(--wheels "$wheels")
    echo "wheels: for hosts like $(cat "$wheels/BUILT_ON")" >&2
fi

work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT
python roles/payment/files/bundle.py files/payment "$work" "${options[@]}" >/dev/null
cd "$work"
zip=(*.zip)
version=${zip%-*} version=${version#skillupworks-payment-}
sha256sum "${zip[0]}" >"${zip[0]}.sha256"
# The lock names no project, so its name and version come from here. The warning is that it names no dependencies either.
printf '[project]\nname = "skillupworks-payment"\nversion = "%s"\n' "$version" >pyproject.toml
PYTHONWARNINGS=ignore cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
    --output-file "${zip[0]}.cdx.json" "$OLDPWD/files/payment/requirements.txt"

# One zip for a version: what an earlier run made of it and nobody published is of no use any more.
mkdir --parents "$OLDPWD/dist"
rm --force "$OLDPWD/dist/skillupworks-payment-$version"-*
mv "${zip[0]}"* "$OLDPWD/dist"
echo "dist/${zip[0]}"
