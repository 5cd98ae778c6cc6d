"""Give python3.11 its own site-packages: as on EL9, only the platform's Python sees dnf, firewalld and SELinux."""

import sys

if sys.executable.endswith("/python3.11") and sys.prefix == "/usr":
    sys.path[:] = [path for path in sys.path if path != "/usr/lib/python3/dist-packages"]
    sys.path.append("/usr/lib/python3.11/site-packages")
