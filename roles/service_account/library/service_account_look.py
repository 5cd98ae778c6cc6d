#!/usr/bin/python
"""Look at a service's user, group and log directory."""

import grp
import os
import pwd
import stat

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: service_account_look
short_description: Looks at a service's user, its group and its log directory, in one go
description:
  - Reads only.
options:
  name:
    description: The user, and the group of the same name.
    type: str
    required: true
  log_dir:
    description: The log directory.
    type: path
    required: true
author: skillupworks
"""
RETURN = r"""
group:
  description: Whether the group exists.
  type: bool
  returned: success
user:
  description: The user's group, comment and shell; empty when there is no such user.
  type: dict
  returned: success
home:
  description: The user's home, or nothing.
  type: str
  returned: success
log_dir:
  description: Owner, group and mode of the log directory; empty when there is none.
  type: dict
  returned: success
"""


def entry(database, key):
    """Return an entry of the user or group database, or None."""
    try:
        return database(key)
    except KeyError:
        return None


def name_of(database, number):
    """Return the name that a number has in the user or group database; the number when it has none."""
    found = entry(database, number)
    return found[0] if found else str(number)


def log_dir_of(path):
    """Return owner, group and mode of a directory; nothing when it is none."""
    if not os.path.isdir(path):
        return {}
    status = os.stat(path)
    return {
        "owner": name_of(pwd.getpwuid, status.st_uid),
        "group": name_of(grp.getgrgid, status.st_gid),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
    }


def main():
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "log_dir": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    name = module.params["name"]
    user = entry(pwd.getpwnam, name)
    module.exit_json(
        group=entry(grp.getgrnam, name) is not None,
        user={"group": name_of(grp.getgrgid, user.pw_gid), "comment": user.pw_gecos, "shell": user.pw_shell}
        if user
        else {},
        home=user.pw_dir if user else "",
        log_dir=log_dir_of(module.params["log_dir"]),
    )


if __name__ == "__main__":
    main()
