"""Read by every Python that has this folder in PYTHONPATH, those that run modules for Ansible among them."""

import keep_compiled  # noqa: F401
