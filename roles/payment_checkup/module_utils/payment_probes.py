"""What both inspections ask with. Nothing here writes, and every answer is data: a refusal is evidence as well."""

import errno
import os
import socket
import ssl
import subprocess
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection

TIMEOUT = 4  # seconds for each question


def run(*argv, **options):
    """Run a command; its exit code (None when there is no such command) and what it said."""
    environment = dict(os.environ, LC_ALL="C.UTF-8", SYSTEMD_COLORS="0", SYSTEMD_PAGER="")
    try:
        done = subprocess.run(
            argv,
            env=environment,
            timeout=3 * TIMEOUT,
            capture_output=True,
            **options,
        )
    except OSError as error:
        return {"code": None, "out": "", "error": str(error)}
    except subprocess.TimeoutExpired:
        return {"code": None, "out": "", "error": f"no answer in {3 * TIMEOUT} s"}
    out, error = (stream.decode("utf-8", "replace").strip() for stream in (done.stdout, done.stderr))
    return {"code": done.returncode, "out": out, "error": error}


def unit(name, *properties):
    """What systemd has of a unit, as property: value."""
    shown = run("systemctl", "show", name, "--property=" + ",".join(properties), "--timestamp=unix")["out"]
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def _reason(error):
    """A word for a connection's failure: the name of its errno, `timeout`, or `name` when DNS does not know it."""
    if isinstance(error, socket.gaierror):
        return "name"
    if isinstance(error, socket.timeout):
        return "timeout"
    return errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)


def connect(host, port):
    """Open a TCP connection and close it: `ok`, and `reason` and `said` when it failed."""
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except OSError as error:
        return {"ok": False, "reason": _reason(error), "said": str(error)}
    return {"ok": True}


def certificate(host, port):
    """The certificate of who listens there, verified as clients do: `ok`, with `days` that are left, or `said`."""
    try:
        plain = socket.create_connection((host, int(port)), TIMEOUT)
        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secure:
            expires = ssl.cert_time_to_seconds(secure.getpeercert()["notAfter"])
    except OSError as error:
        return {"ok": False, "said": getattr(error, "verify_message", "") or str(error)}
    return {"ok": True, "days": (expires - time.time()) / 86400}


def ask(host, port, path, method="GET", headers=None, body=None, timeout=TIMEOUT, tls=False):
    """One HTTP request: `status`, `body` (at most 64 KiB), `headers`, `seconds`; or `reason` and `said`.

    With `tls` it is asked by HTTPS, whatever its certificate, which `certificate` looks at.
    """
    began = time.monotonic()
    if tls:
        connection = HTTPSConnection(host, int(port), timeout=timeout, context=ssl._create_unverified_context())
    else:
        connection = HTTPConnection(host, int(port), timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read(65536).decode("utf-8", "replace")
        answered = {"status": answer.status, "headers": {k.lower(): v for k, v in answer.getheaders()}, "body": text}
        return dict(answered, seconds=round(time.monotonic() - began, 3))
    except (OSError, HTTPException) as error:
        return {"status": 0, "reason": _reason(error), "said": str(error) or type(error).__name__}
    finally:
        connection.close()
