#!/usr/bin/python
"""Write the files of a service, each with its owner and mode."""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text

DOCUMENTATION = r"""
module: payment_files
short_description: Writes a set of files and directories in one go, and tells of each what changes
description:
  - Each belongs to root. A file is replaced at once, and only when its content, owner or mode is another.
  - The contents must hold no secret; M(payment_credentials) keeps those.
options:
  directories:
    description: The directories, each as its C(path) and C(mode).
    type: list
    elements: dict
    required: true
  files:
    description: The files, each as its C(path) and C(content). Their mode is 0644.
    type: list
    elements: dict
    required: true
author: skillupworks
"""
RETURN = r"""
written:
  description: The paths that were changed, or would be.
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


def main():
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "dict", "required": True},
            "files": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    diffs = {}
    for directory in module.params["directories"]:
        diffs[directory["path"]] = settle_directory(module, directory["path"], int(directory["mode"], 8))
    for file in module.params["files"]:
        diffs[file["path"]] = settle_file(module, file["path"], file["content"].encode())
    changes = {path: diff for path, diff in diffs.items() if diff}
    module.exit_json(
        changed=bool(changes),
        written=list(changes),
        diff=[
            {"before_header": old[0], "before": old[1], "after_header": new[0], "after": new[1]}
            for path, (before, wanted, present, content) in changes.items()
            for old, new in [(told(path, before, present), told(path, wanted, content))]
        ],
    )


if __name__ == "__main__":
    main()
