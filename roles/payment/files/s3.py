#!/usr/bin/env python3
"""Artifacts in S3, reached with the AWS environment or profile of whoever runs this.

s3.py presign s3://BUCKET/KEY       print {"url"} that reads the object for some minutes, or {"problem"}, as JSON
s3.py publish s3://BUCKET/KEY FILE  upload FILE; an object that is there already must be the same
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        CredentialRetrievalError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
    )
except ImportError as error:
    sys.exit(f"{sys.executable} cannot import boto3 ({error}). Install the controller's requirements.txt.")

PRESIGNED_FOR = 900  # seconds
CREDENTIALS = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, where this is run (the controller)."


def connect(endpoint: str, region: str):
    """Return an S3 client that gives up within some 20 seconds."""
    config = Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=10,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    region = region or os.environ.get("AWS_DEFAULT_REGION") or boto3.Session().region_name or "us-east-1"
    return boto3.client("s3", endpoint_url=endpoint or None, region_name=region, config=config)


def problem_of(error: Exception, bucket: str, key: str) -> str:
    """Say what kept S3 from serving an object, and what to do about it."""
    where = f"s3://{bucket}/{key}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError | ProfileNotFound):
        return f"{where}: no usable AWS credentials: {error}. {CREDENTIALS}"
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"].get("HTTPStatusCode")
        if status == 403:
            return (
                f"{where}: S3 refuses it to these credentials (403). Allow them s3:GetObject on it in their IAM "
                f"policy and the policy of bucket {bucket}. A missing key is refused as well where s3:ListBucket "
                "is not allowed."
            )
        if status == 404:
            return f"{where}: there is no key {key} in bucket {bucket}, or no such bucket (404)."
        return f"{where}: S3 answers {status}: {error}. Is payment_s3_region the region of the bucket?"
    if isinstance(error, ConnectionError | HTTPClientError):
        return (
            f"{where}: the S3 endpoint cannot be reached: {error}. "
            "Check payment_s3_endpoint, payment_s3_region and the network."
        )
    return f"{where}: {error}"


def presign(client, bucket: str, key: str) -> dict:
    """Return the URL that whoever has it may read the object by. Asks first whether it can be read at all."""
    try:
        client.head_object(Bucket=bucket, Key=key)
        return {"url": client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, PRESIGNED_FOR)}
    except (BotoCoreError, ClientError) as error:
        return {"problem": problem_of(error, bucket, key)}


def published_sha256(client, bucket: str, key: str) -> str | None:
    """Return the SHA-256 of the object, or None where there is none."""
    try:
        body = client.get_object(Bucket=bucket, Key=key)["Body"]
    except client.exceptions.NoSuchKey:
        return None
    digest = hashlib.sha256()
    for chunk in body.iter_chunks(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def publish(client, bucket: str, key: str, file: Path) -> str:
    """Upload `file` where nothing is; return what was done."""
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    there = published_sha256(client, bucket, key)
    if there is None:
        # If-None-Match: should somebody else have published in between, that stays.
        client.put_object(Bucket=bucket, Key=key, Body=content, ChecksumAlgorithm="SHA256", IfNoneMatch="*")
        return f"s3://{bucket}/{key}: published"
    if there != sha256:
        raise FileExistsError(
            f"s3://{bucket}/{key}: is there already, with another content: SHA-256 {there}, and {file} has {sha256}. "
            "A published version never changes. Publish this one under another VERSION."
        )
    return f"s3://{bucket}/{key}: is there already, the same"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["presign", "publish"])
    parser.add_argument("location", help="s3://BUCKET/KEY")
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--endpoint", default="", help="of an S3-compatible store; empty for AWS")
    parser.add_argument("--region", default="", help="empty for that of the AWS environment or profile")
    args = parser.parse_args()

    bucket, _, key = args.location.removeprefix("s3://").partition("/")
    try:
        client = connect(args.endpoint, args.region)
        if args.action == "presign":
            print(json.dumps(presign(client, bucket, key)))
        else:
            print(publish(client, bucket, key, args.file))
    except FileExistsError as error:
        sys.exit(str(error))
    except (BotoCoreError, ClientError, ValueError) as error:
        problem = problem_of(error, bucket, key)
        sys.exit(problem) if args.action == "publish" else print(json.dumps({"problem": problem}))


if __name__ == "__main__":
    main()
