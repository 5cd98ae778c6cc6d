#!/usr/bin/python
"""Keep what a release served with, and its name, for a failed deployment or a rollback to go back to."""

import os
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: payment_remember
short_description: Remembers the release that serves now
description:
  - One directory for each release holds the files that it served with, C(last) and C(previous) name two of them.
  - It is C(last) that counts, so it is written last; each file and each name is replaced in one go.
options:
  directory:
    description: Where that is.
    type: path
    required: true
  release:
    description: Id of the release that serves.
    type: str
    required: true
  files:
    description: Paths of the files to keep, by the names that they are kept under; no others stay. Empty leaves them.
    type: dict
    required: true
  again:
    description: Whether to keep them also where this release was the last before, since it was started anew.
    type: bool
    required: true
author: skillupworks
"""
RETURN = "{}"


def own(directory):
    """Have the directory, for root alone."""
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chown(directory, 0, 0)
    directory.chmod(0o700)


def keep(files, directory):
    """Have copies of the files in the directory, with their modes, and no others where there are any."""
    own(directory)
    for name, path in files.items():
        copy = directory / f".{name}"
        copy.unlink(missing_ok=True)
        copy.touch(mode=0o600)  # before it holds a secret
        shutil.copyfile(path, copy)
        os.chown(copy, 0, 0)
        shutil.copymode(path, copy)
        copy.replace(directory / name)
    if files:
        for other in set(directory.iterdir()) - {directory / name for name in files}:
            other.unlink()


def name(link, release):
    """Have the link name the release."""
    new = link.with_name(f".{link.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(release)
    new.replace(link)


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "files": {"type": "dict", "required": True},
            "again": {"type": "bool", "required": True},
        },
        supports_check_mode=True,
    )
    directory, release = Path(module.params["directory"]), module.params["release"]
    last = directory / "last"
    before = os.readlink(last) if last.is_symlink() else None
    changed = module.params["again"] or before != release
    if changed and not module.check_mode:
        own(directory)
        keep(module.params["files"], directory / release)
        if before not in (None, release) and (directory / before).is_dir():
            name(directory / "previous", before)
        name(last, release)
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
