#!/bin/bash
# Packs a release into dist/: the zip, its hash in sha256sum's format, and its SBOM. Prints the zip's name.
#   VERSION=1.2.0   in place of what files/payment/VERSION says
#   DIST=dist       where to
#   WHEELS=1        with the locked requirements as wheels, so that hosts need neither compiler nor package index
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
dist=${DIST:-dist}
mkdir --parents "$dist"
exec {lock}>"$dist/.lock" && flock "$lock" # two that pack at once wait for each other

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
cd "$OLDPWD"
# What the zip is made of is in its name, by its hash.
if [[ -f $dist/$zip && -f $dist/$zip.cdx.json ]] && (cd "$dist" && sha256sum --check --status "$zip.sha256"); then
    echo "$dist/$zip"
    exit
fi
cd "$work"
version=${zip%-*} version=${version#skillupworks-payment-}
sha256sum "${zip[0]}" >"${zip[0]}.sha256"
# The lock names no project, so its name and version come from here. The warning is that it names no dependencies either.
printf '[project]\nname = "skillupworks-payment"\nversion = "%s"\n' "$version" >pyproject.toml
PYTHONWARNINGS=ignore cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
    --output-file "${zip[0]}.cdx.json" "$OLDPWD/files/payment/requirements.txt"

# One zip for a version: what an earlier run made of it and nobody published is of no use any more.
cd "$OLDPWD"
rm --force "$dist/skillupworks-payment-$version"-*
mv "$work/${zip[0]}"* "$dist"
echo "$dist/${zip[0]}"
