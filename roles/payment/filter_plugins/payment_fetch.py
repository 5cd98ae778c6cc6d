"""Say why a host did not get its artifact, without the URL: it may be a presigned one, which is a secret."""

import re


def payment_download_problem(result: dict, source: str) -> str:
    """Return the cause and the remedy of a failed get_url from `source`, the URL as the inventory has it."""
    source = source.partition("?")[0]
    status = result.get("status_code")
    said = re.sub(r"\?[^\s'\"]+", "?...", f"{result.get('msg', '')} {result.get('response', '')}".strip())
    if match := re.search(r"did not match (\w+); it was (\w+)", said):
        return (
            f"{source}: its SHA-256 is {match[2]}, expected was {match[1]}. Nothing was changed. "
            "Either payment_artifact_sha256s has the hash of another file, or the object is not what was published."
        )
    if status == 403 and source.startswith("s3://"):
        return (
            f"{source}: this host was refused (403), though the controller was not. "
            "Check the host's clock, and whether the bucket's policy allows the host's network."
        )
    if status == 403:
        return f"{source}: refused (403). The object is not public: write its s3://bucket/key."
    if status == 404:
        return f"{source}: there is no such object (404). Check payment_artifact_url and payment_version."
    if "No space left" in said:
        return f"{source}: the host's disk is full: {said}. Make room, then run the playbook again."
    if status in (None, -1):
        return (
            f"{source}: this host did not get it whole: {said}. "
            "Check that the host reaches the address (route, proxy, certificates), then run the playbook again."
        )
    return f"{source}: the server answers {status}: {said}"


def payment_release_problem(result: dict, task: str, release: str) -> str:
    """Return why a release could not be laid out: after that its directory is gone again."""
    full = re.search(r"No space left|disk full", str(result))
    said = " ".join(str(result.get(key, ""))[-500:] for key in ("msg", "stdout", "stderr")).strip()
    cause = "the disk is full. Make room, then run the playbook again" if full else said
    return f"{release} is not complete and was removed again; what ran before still does. '{task}' failed: {cause}"


class FilterModule:
    """Filters for the messages of failed fetches and layouts."""

    def filters(self) -> dict:
        return {
            "payment_download_problem": payment_download_problem,
            "payment_release_problem": payment_release_problem,
        }
