"""Requests as nobody means well with them: generated, the same for the same seed."""

import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from service import DEMO_BODY

_ITEM = {"sku": "Linux", "qty": 1, "price": 1999}
_NOT_AMOUNTS = (
    *("NaN", "Infinity", "-Infinity", "true", "false", "-1", "-0.01", "0.001", "1999.999", "1e400", "-1e400", "1e11"),
    *("10000000000.01", "1e999999999", "0.0001", '"1999"', '"NaN"', "[]", "{}", "[1999]", "9" * 30, "9" * 4000),
)
_NOT_QUANTITIES = ("0", "-1", "1.5", "true", "NaN", "1e3", '"1"', "null", "10001", "9" * 19, "9" * 400)
_NOT_METHODS = (
    '""',
    '"a b"',
    '"a\\r\\nb"',
    '"a\\n"',
    '"\\u0000"',
    '"\\ud800"',
    '"\\u00e9"',
    f'"{"a" * 33}"',
    "7",
    "[]",
)
_NOT_JSON = ("", " ", "not json", "{", "}", "[", "null", "[]", '"text"', "7", "{'total': 1}", '{"total": }', "{}{}")
_NOT_TYPES = (
    *("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""),
    *("application/jsonx", "application/json; charset=utf-16", "application/json; charset=latin-1", "*/*", "json"),
)
_PREFIXES = ("4", "51", "55", "2221", "34", "37", "36", "6011", "60", "65", "508", "81")  # of cards that are issued


@dataclass(frozen=True)
class Request:
    """One request, and the statuses that are right for it; `secret` is what no log may have of it."""

    kind: str
    statuses: frozenset[int]
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    field: str | None = None  # that the answer has to name; None for any or none
    secret: str | None = None


def requests(seed: int, count: int) -> list[Request]:
    """So many requests, of all kinds in turn."""
    chance = random.Random(seed)
    kinds = [_amounts, _quantities, _methods, _repeated_names, _deep, _large, _not_json, _not_utf8, _types, _mutated]
    kinds += [_sessions, _keys, _card_in_body, _card_named, _card_in_name, _card_in_path, _card_in_key, _card_elsewhere]
    sessions = (f"hostile-{seed}-{number}" for number in range(count))
    return [kinds[number % len(kinds)](chance, next(sessions)) for number in range(count)]


def card_number(chance: random.Random) -> str:
    """13 to 19 digits whose last one is Luhn's check."""
    digits = chance.choice(_PREFIXES)
    digits += "".join(chance.choices(string.digits, k=chance.choice([13, 14, 15, 16, 16, 16, 19]) - 1 - len(digits)))
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[::-2])
    return digits + str(-(doubled + sum(map(int, digits[-2::-2]))) % 10)


def _bad(kind: str, session: str, body: str | bytes, field: str | None = None, **options: object) -> Request:
    text = body.encode() if isinstance(body, str) else body
    return Request(kind, frozenset([400]), f"/pay/{session}", text, field=field, **options)


def _amounts(chance: random.Random, session: str) -> Request:
    value = chance.choice(_NOT_AMOUNTS)
    if chance.random() < 0.5:
        return _bad("amount", session, f'{{"total": {value}}}', "total")
    return _bad("amount", session, f'{{"items": [{{"sku": "Linux", "qty": 1, "price": {value}}}]}}', "items[0].price")


def _quantities(chance: random.Random, session: str) -> Request:
    body = f'{{"items": [{{"sku": "Linux", "qty": {chance.choice(_NOT_QUANTITIES)}, "price": 1999}}]}}'
    return _bad("quantity", session, body, "items[0].qty")


def _methods(chance: random.Random, session: str) -> Request:
    return _bad("method", session, f'{{"paymentMethod": {chance.choice(_NOT_METHODS)}}}', "paymentMethod")


def _repeated_names(chance: random.Random, session: str) -> Request:
    name = chance.choice(["total", "items", "paymentMethod", "other"])
    inner = f'{{"{name}": 1999, "{name}": 1999}}'
    return _bad("repeated name", session, chance.choice([inner, f'{{"other": {{"deep": [{inner}]}}}}']), name)


def _deep(chance: random.Random, session: str) -> Request:
    depth = chance.choice([17, 20, 100, 900, 5000, 20_000])
    opening, closing = chance.choice([("[", "]"), ('{"a":', "}")])
    return _bad("deep", session, f'{{"other": {opening * depth}1{closing * depth}}}'[: 64 * 1024])


def _large(chance: random.Random, session: str) -> Request:
    bodies: list[Callable[[], str]] = [
        lambda: json.dumps({"items": [_ITEM] * 501}),
        lambda: json.dumps({"other": [1] * 10_001}),
        lambda: json.dumps({"other": "a" * 4097}),
        lambda: json.dumps({"a" * 129: 1}),
        lambda: json.dumps({"items": [_ITEM | {"sku": "a" * 129}]}),
        lambda: json.dumps({f"a{number}": 1 for number in range(5000)} | {"a": {}})[:-1] + ',"a4999":1}',
    ]
    if chance.random() < 0.2:
        size = chance.choice([64 * 1024 + 1, 200_000])
        return Request("too large", frozenset([413]), f"/pay/{session}", b" " * size)
    return _bad("large", session, chance.choice(bodies)())


def _not_json(chance: random.Random, session: str) -> Request:
    return _bad("not JSON", session, chance.choice(_NOT_JSON))


def _not_utf8(chance: random.Random, session: str) -> Request:
    broken = chance.choice([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\x80", b"\xfe\xff"])
    return _bad("not UTF-8", session, b'{"other": "' + broken + b'"}')


def _types(chance: random.Random, session: str) -> Request:
    headers = {"Content-Type": chance.choice(_NOT_TYPES)}
    if chance.random() < 0.2:
        headers = {"Content-Type": "application/json", "Content-Encoding": chance.choice(["gzip", "br", "x"])}
    return Request("type", frozenset([415]), f"/pay/{session}", b"{}", headers)


def _mutated(chance: random.Random, session: str) -> Request:
    """A good body with some bytes changed, which may leave it good."""
    body = bytearray(json.dumps(DEMO_BODY).encode())
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(body))
        body[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
    return Request("mutated", frozenset([200, 400]), f"/pay/{session}", bytes(body))


def _sessions(chance: random.Random, _: str) -> Request:
    text = chance.choice(["", "-", ".", "a" * 128]) + "".join(chance.choices("a \r\n\t\0%'\";<>{}|\\^é☃", k=3)) + " "
    return Request("session", frozenset([400]), f"/pay/{quote(text, safe='')}", b"{}", field="sessionId")


def _keys(chance: random.Random, session: str) -> Request:
    key = chance.choice(["", "é", "a\x7f", "\x80", "a\tb", "a" * 256, "a" * 5000])
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    return _bad("key", session, b"{}", "Idempotency-Key", headers=headers)


def _shown(chance: random.Random, number: str) -> str:
    """A card's number as people and programs write it."""
    groups = [number[at : at + 4] for at in range(0, len(number), 4)]
    return chance.choice([number, number, " ".join(groups), "-".join(groups), f"card: {number}.", f"x{number}y"])


def _card_in_body(chance: random.Random, session: str) -> Request:
    number = card_number(chance)
    shown = chance.choice([number, f"{number}.00", json.dumps(_shown(chance, number))])
    body, name = chance.choice(
        [
            ('{"total": %s}', "total"),
            ('{"paymentMethod": %s}', "paymentMethod"),
            ('{"other": %s}', "other"),
            ('{"other": {"list": [7, {"inner": %s}]}}', "other.list[1].inner"),
            ('{"items": [{"sku": "Linux", "qty": 1, "price": 1999, "note": %s}]}', "items[0].note"),
            ('{"items": [{"sku": "Linux", "qty": %s, "price": 1999}]}', "items[0].qty"),
        ]
    )
    return _bad("card in the body", session, body % shown, name, secret=number)


def _card_named(chance: random.Random, session: str) -> Request:
    name = chance.choice(["cardNumber", "card_number", "CVV", "cvv2", "cvc", "pan", "cc-number", "card.securityCode"])
    secret = str(chance.randrange(10**11, 10**12))
    body, path = chance.choice([({name: secret}, name), ({"card": {name: secret}}, f"card.{name}")])
    return _bad("card named", session, json.dumps(body), path, secret=secret)


def _card_in_name(chance: random.Random, session: str) -> Request:
    number = card_number(chance)
    body = chance.choice(['{"%s": 1}', '{"%s": 1, "%s": 1}', '{"other": {"%s": null}}']).replace("%s", number)
    return _bad("card in a name", session, body, secret=number)


def _card_in_path(chance: random.Random, session: str) -> Request:
    number = card_number(chance)
    shown = chance.choice([number, f"demo-{number}", quote(_shown(chance, number), safe="")])
    query = chance.choice(["", f"?card={number}"])
    return _bad("card in the path", shown + query, chance.choice(["{}", "not json"]), "sessionId", secret=number)


def _card_in_key(chance: random.Random, session: str) -> Request:
    number = card_number(chance)
    headers = {"Content-Type": "application/json", "Idempotency-Key": _shown(chance, number)}
    return _bad("card in the key", session, b"{}", "Idempotency-Key", headers=headers, secret=number)


def _card_elsewhere(chance: random.Random, session: str) -> Request:
    """Where it is not read: nothing to refuse, and nothing to keep."""
    number = card_number(chance)
    name = chance.choice(["X-Request-Id", "traceparent", "tracestate", "User-Agent", "Cookie", "Referer"])
    headers = {"Content-Type": "application/json", name: chance.choice([number, f"a={number}"])}
    path = f"/pay/{session}?card={number}"
    return Request("card elsewhere", frozenset([200]), path, b"{}", headers, secret=number)


def garbage(seed: int, count: int) -> Iterator[bytes]:
    """What is no HTTP, or nearly none, as it goes over the wire."""
    chance = random.Random(seed)
    for _ in range(count):
        number = card_number(chance)
        head = f"POST /pay/{number} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        length = chance.choice(["-1", "ten", "1e3", "99999999999999999999", "4, 5"])
        chunk = chance.choice(["zz", "-1", "2"])
        texts = [
            "\r\n\r\n",
            "GET\r\n\r\n",
            f"POST /pay/{number}\r\n\r\n",
            f"POST /pay/a\x01{number}\x7f HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}",
            f"{head}Content-Length: {length}\r\n\r\n{{}}",
            f"{head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}",
            f"{head}Transfer-Encoding: chunked\r\n\r\n{chunk}\r\n{{}}\r\n0\r\n\r\n",
            f"{head}X: {'a' * 70_000}\r\n\r\n",
            f"{head}Idempotency-Key: a\nb: {number}\r\nContent-Length: 2\r\n\r\n{{}}",
        ]
        yield chance.choice([*(text.encode() for text in texts), chance.randbytes(200)])
