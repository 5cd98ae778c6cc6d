"""python3.11 has its own site-packages, as on EL9: the bindings of dnf, firewalld and SELinux are the platform's alone."""

import sys

if sys.executable.endswith("/python3.11") and sys.prefix == "/usr":
    sys.path[:] = [path for path in sys.path if path != "/usr/lib/python3/dist-packages"]
    sys.path.append("/usr/lib/python3.11/site-packages")
