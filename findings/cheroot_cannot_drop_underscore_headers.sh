#!/bin/bash
# cheroot 11.1.2: the reader of header fields that is to leave out names with an underscore fails at every field.
#
# Expected: with HTTPRequest.header_reader = DropUnderscoreHeaderReader(), which the package exports for that, X_Name is
# left out and all else is read.
# Seen: names are bytes by then and the underscore that it looks for is text, so the first field raises TypeError and
# every request, underscore or not, is answered 500. The usual HeaderReader answers 200.
set -euo pipefail
work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cheroot==11.1.2
cat >ask.py <<'END'
import http.client
import threading

from cheroot.server import DropUnderscoreHeaderReader, HeaderReader, HTTPRequest
from cheroot.wsgi import Server


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


def status(reader):
    HTTPRequest.header_reader = reader
    server = Server(("127.0.0.1", 0), application)
    server.error_log = lambda *_, **__: None
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    client = http.client.HTTPConnection("127.0.0.1", server.bind_addr[1], timeout=30)
    client.request("GET", "/")
    answer = client.getresponse().status
    server.stop()
    return answer


print("usual", status(HeaderReader()), "dropping", status(DropUnderscoreHeaderReader()))
END
seen=$(venv/bin/python ask.py 2>/dev/null)
echo "$seen"
[[ $seen == "usual 200 dropping 500" ]] || { echo "this has changed" >&2; exit 1; }
echo "as described"
