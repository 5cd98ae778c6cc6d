#!/usr/bin/env python3
"""Make the buckets, and objects that must be refused:  fill.py ENDPOINT. Prints their SHA-256 as JSON."""

import hashlib
import io
import json
import stat
import sys
import zipfile

import boto3

GOOD = {"payment.py": "print('hello')\n", "requirements.txt": ""}


def zipped(extra: dict[str, str] | None = None, without: str = "", mode: int = stat.S_IFREG | 0o644) -> bytes:
    """Return a zip of GOOD, with entries of one mode beside it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (GOOD | (extra or {})).items():
            if name != without:
                entry = zipfile.ZipInfo(name)  # with a fixed time
                entry.create_system, entry.external_attr = 3, (mode if name in (extra or {}) else 0o100644) << 16
                archive.writestr(entry, content)
    return buffer.getvalue()


OBJECTS = {
    "good.zip": zipped(),
    "truncated.zip": zipped()[:-40],
    "climbs.zip": zipped({"../climbed": "x"}),
    "absolute.zip": zipped({"/etc/climbed": "x"}),
    "links.zip": zipped({"static": "/etc"}, mode=stat.S_IFLNK | 0o777),
    "setuid.zip": zipped({"shell": "x"}, mode=stat.S_IFREG | 0o4755),
    "revision.zip": zipped({"REVISION": "1.2.0"}),
    "no-app.zip": zipped(without="payment.py"),
    "no-lock.zip": zipped(without="requirements.txt"),
    "large.zip": zipped({"large": "x" * 4_000_000}),
}


def main() -> None:
    client = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1")
    for bucket in ("private", "public", "denied"):
        client.create_bucket(Bucket=bucket)
    for name, content in OBJECTS.items():
        client.put_object(Bucket="private", Key=name, Body=content)
    client.put_object(Bucket="public", Key="good.zip", Body=OBJECTS["good.zip"], ACL="public-read")
    client.put_object(Bucket="denied", Key="good.zip", Body=OBJECTS["good.zip"])
    denial = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::denied/*"}
    client.put_bucket_policy(Bucket="denied", Policy=json.dumps({"Version": "2012-10-17", "Statement": [denial]}))
    print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in OBJECTS.items()}))


if __name__ == "__main__":
    main()
