#!/bin/bash
# uWSGI 2.0.31: a request with more than 118 header fields beside Host gets no answer, however small it is.
#
# Expected: what fits into --buffer-size is served, or refused with 431.
# Seen: the variables of a request have a limit of their own, --max-vars. One beyond it is skipped, as the log says, and
# the connection is closed without a byte, though the head is a thirtieth of the buffer. --max-vars=1024 lets the same
# request through.
set -euo pipefail
work=$(mktemp --directory)
server=
trap '[[ -z $server ]] || kill -KILL "$server" 2>/dev/null || :; rm --recursive --force "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
UWSGI_PROFILE=pyonly venv/bin/pip install --quiet --disable-pip-version-check uwsgi==2.0.31
cat >app.py <<'END'
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]
END
cat >ask.py <<'END'
import socket, sys, time

def ask(fields):
    """What is answered to a request of that many fields, after the server has come up."""
    for _ in range(100):
        try:
            client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
            break
        except OSError:
            time.sleep(0.1)
    head = "GET / HTTP/1.1\r\nHost: localhost\r\n" + "".join(f"X-Field-{n}: value\r\n" for n in range(fields)) + "\r\n"
    client.sendall(head.encode())
    try:
        return "served" if b"served" in b"".join(iter(lambda: client.recv(4096), b"")) else "no answer"
    except ConnectionError:
        return "no answer"

print(*(f"{fields} fields: {ask(fields)}" for fields in (118, 119)), sep=", ")
END
seen() {
    local port
    port=$(venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    venv/bin/uwsgi --socket "127.0.0.1:$port" --protocol http --wsgi-file app.py --buffer-size 65535 "$@" >log 2>&1 &
    server=$!
    venv/bin/python ask.py "$port"
    kill -KILL "$server"
    wait "$server" 2>/dev/null || :
    server=
}
usual=$(seen) more=$(seen --max-vars=1024)
echo "by default: $usual; with --max-vars=1024: $more"
[[ $usual == "118 fields: served, 119 fields: no answer" && $more == "118 fields: served, 119 fields: served" ]] ||
    { echo "this has changed" >&2; exit 1; }
echo "as described"
