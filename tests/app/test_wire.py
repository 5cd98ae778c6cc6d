"""What comes over the wire means the same in both runtimes, and is answered in JSON."""

import json
import socket

import pytest

from service import PATIENCE, new_session

HEAD = b"POST /pay/demo-wire HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def exchange(service, *parts):
    """Send the parts one after the other, as different packets, and no more: status, header lines and body."""
    session = new_session().encode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            client.sendall(part.replace(b"demo-wire", session))
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), fields, body


PAID = {
    "a length": [HEAD + b"Content-Length: 2\r\n\r\n{}"],
    "one chunk": [CHUNKED + b"2\r\n{}\r\n" + END],
    "chunks in several packets": [CHUNKED + b"1\r", b"\n{\r\n1\r\n", b"}\r\n0\r", b"\n\r\n"],
    "the coding in other letters": [HEAD + b"transfer-encoding: Chunked\r\n\r\n2\r\n{}\r\n" + END],
    "a trailer": [CHUNKED + b"2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n"],
    "HTTP/1.0": [HEAD.replace(b"/1.1", b"/1.0") + b"Content-Length: 2\r\n\r\n{}"],
    "a second request behind it": [HEAD + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\n{}" + HEAD],
    "many fields": [HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"Content-Length: 2\r\n\r\n{}"],
    "a long field": [HEAD + b"X: %s\r\nContent-Length: 2\r\n\r\n{}" % (b"y" * 30_000)],
    "an expectation that nobody has": [HEAD + b"Expect: cake\r\nContent-Length: 2\r\n\r\n{}"],
}
REFUSED = {
    "no body": ([HEAD + b"\r\n"], 400),
    "no chunk": ([CHUNKED + END], 400),
    "chunks without end": ([CHUNKED + b"2\r\n{}\r\n"], 400),
    "chunks without size": ([CHUNKED + b"zz\r\n{}\r\n" + END], 400),
    "a chunk too large": ([CHUNKED + b"%x\r\n%s\r\n" % (70_000, b" " * 70_000) + END], 413),
    "chunks too many": ([CHUNKED + (b"%x\r\n%s\r\n" % (70_000, b" " * 70_000)) * 40 + END], 413),
    "a length and chunks": ([HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" + END], 400),
    "another coding": ([HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n" + END], 400),
    "two lengths": ([HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"], 400),
    "no HTTP": ([b"\x16\x03\x01\x00\r\n\r\n"], 400),
    "no number": ([HEAD + b"Content-Length: x\r\n\r\n{}"], 400),
    "a negative length": ([HEAD + b"Content-Length: -1\r\n\r\n{}"], 400),
    "a signed length": ([HEAD + b"Content-Length: +2\r\n\r\n{}"], 400),
    "two types": ([HEAD + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}"], 415),
}


@pytest.mark.parametrize("case", PAID)
def test_request_that_is_answered_once(service, case):
    status, fields, body = exchange(service, *PAID[case])
    assert (status, b'"status":"success"' in body) == (200, True), body
    assert "Connection: close" in fields or case == "HTTP/1.0"
    assert b"HTTP/1." not in body, "a kept connection would be closed with the next request on it"


@pytest.mark.parametrize("case", REFUSED)
def test_request_that_is_refused(service, case):
    parts, expected = REFUSED[case]
    status, fields, body = exchange(service, *parts)
    assert status == expected, body
    assert "Content-Type: application/json" in fields
    assert json.loads(body)["status"] == "error"


@pytest.mark.parametrize("framing", ["Content-Length: 2", "Transfer-Encoding: chunked"])
def test_client_that_waits_until_it_may_send_the_body(service, framing):
    """As curl does with a body of more than a megabyte, for a second, and other clients for ever."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as client:
        client.sendall(HEAD + f"Expect: 100-continue\r\n{framing}\r\n\r\n".encode())
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}" if framing.startswith("Content") else b"2\r\n{}\r\n" + END)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
