#!/usr/bin/python
"""Look into an artifact before it is unpacked."""

import re
import stat
import zipfile
import zlib

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: payment_artifact
short_description: Looks into an artifact, and refuses one that must not be unpacked
description:
  - Refuses a file that is no complete zip, that would write outside of its release, or that lacks what a release needs.
options:
  path:
    description: The zip, on the host.
    type: path
    required: true
author: skillupworks
"""
RETURN = r"""
wheels:
  description: Whether it brings its requirements as wheels.
  type: bool
  returned: success
"""
NEEDED = ("payment.py", "requirements.txt")
OURS = ("REVISION", "venv")  # what the role itself puts beside the content; REVISION says that a release is complete


def problem_of(entry):
    """Say why one entry of the zip must not be unpacked, or return None."""
    name = entry.orig_filename
    parts = re.split(r"[/\\]", name)
    if not parts[0] or ".." in parts or ":" in parts[0] or "\0" in name:
        return f"its entry {name!r} leads out of the release"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"its entry {name!r} is a link or a device"
    if parts[0] in OURS:
        return f"its entry {name!r} is in the place of what the role writes"
    return None


def problems_of(archive):
    """Return why the zip must not be unpacked, one sentence each."""
    problems = [problem for problem in map(problem_of, archive.infolist()) if problem]
    problems += [f"it has no {name} at its top" for name in NEEDED if name not in archive.namelist()]
    if not problems and (damaged := archive.testzip()):
        problems.append(f"its entry {damaged!r} is damaged")
    return problems


def main():
    module = AnsibleModule(argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True)
    path = module.params["path"]
    try:
        with zipfile.ZipFile(path) as archive:
            problems = problems_of(archive)
            wheels = "wheels/requirements.txt" in archive.namelist()
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        problems = [f"it is no complete zip ({error}): truncated, or something else"]
    except (RuntimeError, NotImplementedError) as error:
        problems = [f"it cannot be read: {error}"]
    if problems:
        module.fail_json(msg=f"{path} was not unpacked: {'; '.join(problems)}")
    module.exit_json(wheels=wheels)


if __name__ == "__main__":
    main()
