#!/usr/bin/python
"""Keep the secrets of a service as systemd credentials."""

import os
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: payment_credentials
short_description: Keeps secrets as the files that systemd hands to a service as its credentials
description:
  - A file for each secret, which root alone can read, in a directory that holds nothing else.
  - Unlike M(ansible.builtin.copy) it leaves no secret in a temporary file, on the controller or on the host, not even
    when it is killed, because pipelining hands the secrets to its standard input.
  - A file is written only when it holds something else. What is not one of the secrets is removed.
options:
  directory:
    description: Where the files lie.
    type: path
    required: true
  secrets:
    description: The secrets, file name to value.
    type: dict
    required: true
  encrypted:
    description: Whether the files are encrypted with the host's key, for systemd's LoadCredentialEncrypted=.
    type: bool
    default: false
author: skillupworks
"""
RETURN = r"""
written:
  description: The names of the files that were written, or would be.
  type: list
  elements: str
  returned: success
removed:
  description: The names of the files that were removed, or would be.
  type: list
  elements: str
  returned: success
"""


def systemd_creds(verb, name, content):
    """Return what systemd-creds makes of the content; CalledProcessError when that is not possible."""
    command = ["systemd-creds", verb, f"--name={name}", "-", "-"]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def holds(path, name, secret, encrypted):
    """Whether the file holds the secret, and nobody but root can read it."""
    try:
        status = os.lstat(path)
        with open(path, "rb") as file:
            content = file.read()
        if encrypted:
            content = systemd_creds("decrypt", name, content)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False
    return content == secret and (status.st_uid, status.st_gid, status.st_mode) == (0, 0, 0o100600)


def write(path, content):
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


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "secrets": {"type": "dict", "required": True, "no_log": True},
            "encrypted": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    directory, encrypted = module.params["directory"], module.params["encrypted"]
    secrets = {name: str(value).encode() for name, value in module.params["secrets"].items()}
    present = os.listdir(directory) if os.path.isdir(directory) else []
    paths = {name: os.path.join(directory, name) for name in {*secrets, *present}}
    removed = sorted(set(present) - set(secrets))
    try:
        written = [name for name in sorted(secrets) if not holds(paths[name], name, secrets[name], encrypted)]
        if not module.check_mode:
            for name in written:
                write(paths[name], systemd_creds("encrypt", name, secrets[name]) if encrypted else secrets[name])
            for name in removed:
                os.unlink(paths[name])
    except FileNotFoundError as error:
        module.fail_json(msg=f"{error.filename} is not there: systemd-creds comes with systemd 250, so with EL9.")
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"systemd-creds cannot encrypt on this host: {error.stderr.decode(errors='replace')}")
    module.exit_json(changed=bool(written or removed), written=written, removed=removed)


if __name__ == "__main__":
    main()
