#!/bin/bash
# Uploads what `make bundle` packed to S3, and prints what the inventory needs. Credentials: the AWS environment's.
#   VERSION=1.2.0   the version to publish
#   BUCKET=releases where to, or with a folder: releases/payment
#   DIST=dist       where it was packed to
#   S3_ENDPOINT=, S3_REGION=   of an S3-compatible store; those of AWS where they are empty
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
fail() { echo "publish: $*" >&2 && exit 1; }

[[ -n ${VERSION:-} && -n ${BUCKET:-} ]] || fail "say which version, and where to: make publish VERSION=1.2.0 BUCKET=releases"
dist=${DIST:-dist}
zips=("$dist"/skillupworks-payment-"$VERSION"-????????????.zip)
zip=${zips[0]}
[[ -f $zip ]] || fail "$dist/ has no version $VERSION: make bundle VERSION=$VERSION WHEELS=1"
(cd "$dist" && sha256sum --check --status "${zip##*/}.sha256") || fail "$zip is not what was bundled: bundle it again."

read -r sha256 _ <"$zip.sha256"
name=skillupworks-payment-$VERSION.zip # its hash is in the inventory, so it is not in its name
named=$(mktemp)
trap 'rm "$named"' EXIT
echo "$sha256  $name" >"$named"

upload() {
    python roles/payment/files/s3.py publish "s3://$BUCKET/$name$2" "$1" \
        --endpoint="${S3_ENDPOINT:-}" --region="${S3_REGION:-}" >&2
}
upload "$zip" "" # first: if it is refused, nothing is uploaded
upload "$zip.cdx.json" .cdx.json
upload "$named" .sha256

cat <<END
payment_artifact_url: "s3://$BUCKET/skillupworks-payment-{{ payment_version }}.zip"
${S3_ENDPOINT:+payment_s3_endpoint: $S3_ENDPOINT
}${S3_REGION:+payment_s3_region: $S3_REGION
}payment_version: "$VERSION"
payment_artifact_sha256s:
  "$VERSION": $sha256
END
