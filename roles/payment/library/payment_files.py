#!/usr/bin/python
"""Write the files of a service, each with its owner and mode, and its secrets."""

import os
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text

DOCUMENTATION = r"""
module: payment_files
short_description: Writes a set of files, directories and secrets in one go, and tells of each what changes
description:
  - Each belongs to root. A file is replaced at once, and only when its content, owner or mode is another.
  - Secrets are files that root alone can read, in a directory that holds nothing else, for systemd to hand to the
    service as its credentials. Unlike M(ansible.builtin.copy) it leaves none in a temporary file, on the controller or
    on the host, not even when it is killed, because pipelining hands them to its standard input. No diff shows them.
options:
  directories:
    description: The directories, each as its C(path) and C(mode).
    type: list
    elements: dict
    default: []
  files:
    description: The files, each as its C(path) and C(content). Their mode is 0644, and no secret is in them.
    type: list
    elements: dict
    default: []
  credentials:
    description: The directory of the secrets. What is not one of them is removed from it.
    type: path
  secrets:
    description: The secrets, file name to value.
    type: dict
  encrypted:
    description: Whether they are encrypted with the host's key, for systemd's LoadCredentialEncrypted=.
    type: bool
    default: false
author: skillupworks
"""
RETURN = r"""
written:
  description: The paths that were changed or removed, or would be.
  type: list
  elements: str
  returned: success
"""
FILE_MODE = 0o644


def state_of(path):
    """Return owner, group and mode of a path; None when there is nothing."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_uid, status.st_gid, status.st_mode & 0o7777


def told(path, state, content):
    """Return one side of a diff."""
    header = f"{path} (absent)" if state is None else "{} (uid {}, gid {}, mode {:04o})".format(path, *state)
    return header, to_text(content)


def settle_directory(module, path, mode):
    """Bring about one directory; return its diff, or None when it is as it should be."""
    before, wanted = state_of(path), (0, 0, mode)
    if before == wanted and os.path.isdir(path) and not os.path.islink(path):
        return None
    if before is not None and (os.path.islink(path) or not os.path.isdir(path)):
        module.fail_json(msg=f"{path} is no directory. Move it away.")
    if not module.check_mode:
        os.makedirs(path, exist_ok=True)
        os.chown(path, 0, 0)
        os.chmod(path, mode)
    return before, wanted, b"", b""


def settle_file(module, path, content):
    """Bring about one file; return its diff, or None when it is as it should be."""
    before, wanted, present = state_of(path), (0, 0, FILE_MODE), b""
    if os.path.isdir(path) and not os.path.islink(path):
        module.fail_json(msg=f"{path} is a directory. Move it away.")
    if os.path.isfile(path) and not os.path.islink(path):
        with open(path, "rb") as file:
            present = file.read()
        if present == content and before == wanted:
            return None
    if not module.check_mode:
        temporary = os.path.join(module.tmpdir, "content")
        with open(temporary, "wb") as file:
            file.write(content)
        os.chown(temporary, 0, 0)
        os.chmod(temporary, FILE_MODE)
        module.atomic_move(temporary, path, keep_dest_attrs=False)
    return before, wanted, present, content


def systemd_creds(verb, path, content):
    """Return what systemd-creds makes of a secret's content; CalledProcessError when that is not possible."""
    command = ["systemd-creds", verb, f"--name={os.path.basename(path)}", "-", "-"]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def holds(path, secret, encrypted):
    """Whether the file holds the secret, and nobody but root can read it."""
    try:
        status = os.lstat(path)
        with open(path, "rb") as file:
            content = file.read()
        if encrypted:
            content = systemd_creds("decrypt", path, content)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False
    return content == secret and (status.st_uid, status.st_gid, status.st_mode) == (0, 0, 0o100600)


def write_secret(path, content):
    """Replace the file at once, so that it is never there in part."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path))  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def settle_secrets(module, directory, secrets, encrypted):
    """Bring about the secrets; return the paths of those that were not as they should be, and of what is none."""
    secrets = {os.path.join(directory, name): str(value).encode() for name, value in secrets.items()}
    present = os.listdir(directory) if os.path.isdir(directory) else []
    surplus = sorted({os.path.join(directory, name) for name in present} - set(secrets))
    try:
        differing = [path for path in sorted(secrets) if not holds(path, secrets[path], encrypted)]
        if not module.check_mode:
            for path in differing:
                write_secret(path, systemd_creds("encrypt", path, secrets[path]) if encrypted else secrets[path])
            for path in surplus:
                os.unlink(path)
    except FileNotFoundError as error:
        module.fail_json(msg=f"{error.filename} is not there: systemd-creds comes with systemd 250, so with EL9.")
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"systemd-creds cannot encrypt on this host: {error.stderr.decode(errors='replace')}")
    return differing + surplus


def main():
    # sudo may set a strict one, by which directories on the way are made, and files that atomic_move has not seen.
    os.umask(0o022)
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "dict", "default": []},
            "files": {"type": "list", "elements": "dict", "default": []},
            "credentials": {"type": "path"},
            "secrets": {"type": "dict", "no_log": True},
            "encrypted": {"type": "bool", "default": False},
        },
        required_together=[("credentials", "secrets")],
        supports_check_mode=True,
    )
    wanted = module.params
    diffs = {}
    for directory in wanted["directories"]:
        diffs[directory["path"]] = settle_directory(module, directory["path"], int(directory["mode"], 8))
    for file in wanted["files"]:
        diffs[file["path"]] = settle_file(module, file["path"], file["content"].encode())
    changes = {path: diff for path, diff in diffs.items() if diff}
    secrets = []
    if wanted["credentials"]:
        secrets = settle_secrets(module, wanted["credentials"], wanted["secrets"], wanted["encrypted"])
    module.exit_json(
        changed=bool(changes or secrets),
        written=[*changes, *secrets],
        diff=[
            {"before_header": old[0], "before": old[1], "after_header": new[0], "after": new[1]}
            for path, (before, wanted, present, content) in changes.items()
            for old, new in [(told(path, before, present), told(path, wanted, content))]
        ],
    )


if __name__ == "__main__":
    main()
