#!/usr/bin/python
"""Look into an artifact before it is unpacked."""

import stat
import zipfile
import zlib

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: payment_artifact
short_description: Looks into an artifact, and refuses one that must not be unpacked
description:
  - Refuses a file that is no complete zip, or lacks what a release needs.
  - Refuses one that would write outside of its release, that holds links, devices or setuid files, that has an entry
    twice, or that fills the disk when it is unpacked.
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
SPECIAL_MODES = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
MOST_BYTES, MOST_ENTRIES = 2**30, 20_000  # unpacked; a release with its wheels has some 30 MiB in 100 entries


def problem_of(entry):
    """Say why one entry of the zip must not be unpacked, or return None."""
    name = entry.orig_filename
    mode = entry.external_attr >> 16
    parts = name.split("/")
    if not parts[0] or ".." in parts or ":" in parts[0]:
        return f"its entry {name!r} leads out of the release"
    if "\\" in name or not name.isprintable():
        return f"its entry {name!r} has a name that not every unpacker reads alike"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"its entry {name!r} is a link or a device"
    if mode & SPECIAL_MODES:
        return f"its entry {name!r} is setuid, setgid or sticky"
    if parts[0] in OURS:
        return f"its entry {name!r} is in the place of what the role writes"
    return None


def clashes_of(names):
    """Return a sentence for each name that is there twice, or as a file and as a directory."""
    seen, problems = set(), []
    files = {name for name in names if not name.endswith("/")}
    for name in names:
        if name.rstrip("/") in seen:
            problems.append(f"its entry {name!r} is there twice")
        seen.add(name.rstrip("/"))
        parts = name.rstrip("/").split("/")
        if any("/".join(parts[:length]) in files for length in range(1, len(parts))):
            problems.append(f"its entry {name!r} lies in a file")
    return problems


def problems_of(archive):
    """Return why the zip must not be unpacked, one sentence each."""
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        return [f"it has {len(entries)} entries, more than {MOST_ENTRIES}"]
    size = sum(entry.file_size for entry in entries)
    if size > MOST_BYTES:
        return [f"it unpacks to {size // 2**20} MiB, more than {MOST_BYTES // 2**20}"]
    names = [entry.orig_filename for entry in entries]
    problems = [problem for problem in map(problem_of, entries) if problem] + clashes_of(names)
    problems += [f"it has no {name} at its top" for name in NEEDED if name not in names]
    if not problems and (damaged := archive.testzip()):
        problems.append(f"its entry {damaged!r} is damaged")
    return problems


def look_into(path):
    """Return why the file must not be unpacked, one sentence each, and whether it brings wheels."""
    try:
        with zipfile.ZipFile(path) as archive:
            return problems_of(archive), "wheels/requirements.txt" in archive.namelist()
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        return [f"it is no complete zip ({error}): truncated, or something else"], False
    except (RuntimeError, NotImplementedError) as error:
        return [f"it cannot be read: {error}"], False


def main():
    module = AnsibleModule(argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True)
    path = module.params["path"]
    problems, wheels = look_into(path)
    if problems:
        module.fail_json(msg=f"{path} was not unpacked: {'; '.join(problems[:10])}")
    module.exit_json(wheels=wheels)


if __name__ == "__main__":
    main()
