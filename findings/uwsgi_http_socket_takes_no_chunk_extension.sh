#!/bin/bash
# uWSGI 2.0.31: over --protocol http, a body in chunks is the application's to read, and one extension ends that.
#
# Expected: wsgi.input has the body, as with a Content-Length, since the server speaks HTTP/1.1 with the client.
# Seen: wsgi.input is empty, without an error, so that the body looks like none. uwsgi.chunked_read() brings it chunk by
# chunk, trailers are passed over; a chunk whose size has an extension behind it (RFC 9112, 7.1.1) is an OSError.
set -euo pipefail
work=$(mktemp --directory)
server=
trap '[[ -z $server ]] || kill -KILL "$server" 2>/dev/null || :; rm --recursive --force "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
UWSGI_PROFILE=pyonly venv/bin/pip install --quiet --disable-pip-version-check uwsgi==2.0.31
cat >app.py <<'END'
import uwsgi

def application(environ, start_response):
    start_response("200 OK", [])
    seen = [f"input {environ['wsgi.input'].read()!r}"]
    try:
        seen.append(f"chunks {b''.join(iter(uwsgi.chunked_read, b''))!r}")
    except OSError as error:
        seen.append(f"OSError {error}")
    return [", ".join(seen).encode()]
END
cat >ask.py <<'END'
import socket, sys, time

def ask(chunks):
    for _ in range(100):
        try:
            client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
            break
        except OSError:
            time.sleep(0.1)
    client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    return b"".join(iter(lambda: client.recv(4096), b"")).rpartition(b"\r\n")[2].decode()

print("plain:", ask(b"4\r\nbody\r\n0\r\n\r\n"))
print("with a trailer:", ask(b"4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"))
print("with an extension:", ask(b"4;name=value\r\nbody\r\n0\r\n\r\n"))
END
port=$(venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/uwsgi --socket "127.0.0.1:$port" --protocol http --wsgi-file app.py >log 2>&1 &
server=$!
seen=$(venv/bin/python ask.py "$port")
kill -KILL "$server"
wait "$server" 2>/dev/null || :
server=
echo "$seen"
[[ $seen == "plain: input b'', chunks b'body'
with a trailer: input b'', chunks b'body'
with an extension: input b'', OSError unable to receive chunked part" ]] || { echo "this has changed" >&2; exit 1; }
echo "as described"
