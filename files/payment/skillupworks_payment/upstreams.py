"""The User and Cart services: is the session known, and what is in its cart.

urllib3 itself rather than requests, which rides on it: a call costs a quarter of the CPU time, and two are made for
every payment.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated
from urllib.parse import quote

import urllib3
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from urllib3.exceptions import HTTPError, ProtocolError

from . import context, metrics, money, strict_json
from .errors import empty_cart, unavailable, unknown_session
from .settings import Endpoint, Settings
from .validation import Quantity, Sku, first_problem

_MAX_ANSWER_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


class CartItem(BaseModel):
    """One line of a cart, amounts in minor units; `subtotal` is `qty` times `price`."""

    model_config = ConfigDict(strict=True, frozen=True)

    sku: Sku
    qty: Quantity
    price: Annotated[int, PlainValidator(money.without_noise)]
    subtotal: Annotated[int, PlainValidator(money.without_noise)]


class Cart(BaseModel):
    """A cart in robot-shop's shape, amounts in minor units; `tax` is the part of `total` that is tax."""

    model_config = ConfigDict(strict=True, frozen=True)

    total: Annotated[int, PlainValidator(money.without_noise)] = 0
    tax: Annotated[int, PlainValidator(money.rounded)] = 0
    items: Annotated[tuple[CartItem, ...], Field(strict=False, max_length=500)] = ()

    def contradiction(self) -> str | None:
        """What does not add up in it, if anything."""
        for item in self.items:
            if item.subtotal != item.qty * item.price:
                return f"the subtotal of {item.sku} is not its quantity times its price"
        if self.total != sum(item.subtotal for item in self.items):
            return "the total is not the sum of the subtotals"
        if self.total == 0 and self.items:
            return "there are items and nothing to pay"
        return None


class Upstreams:
    """Asks both services about one session. One serves all threads of a process."""

    def __init__(self, settings: Settings, *, concurrency: int) -> None:
        """So many payments at a time find a connection and a thread for both of their calls."""
        self._longest = settings.connect_timeout + settings.read_timeout
        timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        self._user = _Service("user", settings.user, settings.user_path, timeout, concurrency)
        self._cart = _Service("cart", settings.cart, settings.cart_path, timeout, concurrency)
        self._threads = ThreadPoolExecutor(2 * concurrency, thread_name_prefix="upstream")

    def cart_of_known_session(self, session_id: str) -> Cart:
        """The cart to be paid. Both services are asked at the same time.

        PaymentError 401 for an unknown session; 400 for an empty cart; 503 when a service cannot be asked, or says
        what cannot be used: a cart that does not add up is the Cart service's fault and not the client's.
        """
        deadline = time.monotonic() + self._longest
        headers = context.trace_headers()
        user = self._threads.submit(self._user.get, session_id, headers)
        cart = self._threads.submit(self._cart.get, session_id, headers)
        if _result(user, "User", deadline) is None:
            raise unknown_session()
        answer = _result(cart, "Cart", deadline)
        if answer is None:
            raise empty_cart()
        return _read_cart(answer)


class _Failed(Exception):
    """A call brought no answer that can be used; the text is for the log."""


class _Service:
    """GET from one service over kept connections, no more of them than payments at a time."""

    def __init__(self, name: str, endpoint: Endpoint, path: str, timeout: urllib3.Timeout, connections: int) -> None:
        self._name = name
        self._path = path
        self._pool = urllib3.HTTPConnectionPool(
            endpoint.host, endpoint.port, timeout=timeout, maxsize=connections, retries=False
        )

    def get(self, session_id: str, headers: dict[str, str]) -> bytes | None:
        """The body of a 200, None for a 404; _Failed for anything else."""
        path = self._path.replace("{session_id}", quote(session_id, safe=""))
        with metrics.upstream_call(self._name):
            try:
                status, body = self._exchange(path, headers)
            except ProtocolError:
                # Most likely a kept connection that the other side closed at this moment. A GET may be repeated.
                status, body = self._exchange(path, headers)
        if status == 404:
            return None
        if status != 200:
            raise _Failed(f"answered {status}")
        return body

    def _exchange(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        response = self._pool.request("GET", path, headers=headers, redirect=False, preload_content=False)
        body = response.read(_MAX_ANSWER_BYTES + 1)
        if len(body) > _MAX_ANSWER_BYTES:
            response.close()
            raise _Failed(f"answered more than {_MAX_ANSWER_BYTES} bytes")
        response.release_conn()
        return response.status, body


def _result(call: Future[bytes | None], service: str, deadline: float) -> bytes | None:
    """What `call` returns before `deadline`, however slowly the service trickles: a socket's timeout is per read."""
    try:
        return call.result(timeout=max(0, deadline - time.monotonic()))
    except (HTTPError, TimeoutError, _Failed) as error:
        call.cancel()
        log.warning("%s service cannot be used: %s", service, str(error) or type(error).__name__)
        raise unavailable(f"{service.lower()}_unavailable", f"{service} service is unavailable") from error


def _read_cart(answer: bytes) -> Cart:
    try:
        cart = Cart.model_validate(strict_json.parse(answer))
        problem = cart.contradiction()
    except ValidationError as error:
        problem = ": ".join(first_problem(error))
    except strict_json.InvalidJson as error:
        problem = str(error)
    if problem:
        log.error("Cart service gave a cart that cannot be charged: %s", problem)
        raise unavailable("cart_inconsistent", "Cart service is unavailable")
    if not cart.items:
        raise empty_cart()
    return cart
