#!/bin/bash
# Serves S3 at the container's own address, by a certificate of its own, with a bucket to publish releases to.
set -euo pipefail
cd /srv/s3
address=$(hostname --all-ip-addresses | tr -d ' ')
[[ -e certificate.pem ]] || openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=s3 \
    -addext "subjectAltName=IP:$address" -keyout key.pem -out certificate.pem 2>/dev/null

# What it holds is in its memory, so after each start the bucket is made anew.
{ until curl --silent --fail --insecure --request PUT "https://$address:8443/releases" >/dev/null; do sleep 0.2; done; } &
exec venv/bin/moto_server --host=0.0.0.0 --port=8443 --ssl-cert=certificate.pem --ssl-key=key.pem
