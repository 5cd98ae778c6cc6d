"""The User and Cart services: is the session known, and what is in its cart."""

import logging
import time
from typing import Annotated
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from . import context, metrics, money, strict_json
from .errors import empty_cart, unavailable, unknown_session
from .http_client import Call, HttpClient, Unanswered
from .settings import Endpoint, Settings
from .validation import Quantity, Sku, first_problem

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
        """So many payments at a time find a connection for both of their calls."""
        self._longest = settings.connect_timeout + settings.read_timeout
        self._user = _Service("user", settings.user, settings.user_path, settings, concurrency)
        self._cart = _Service("cart", settings.cart, settings.cart_path, settings, concurrency)

    def cart_of_known_session(self, session_id: str) -> Cart:
        """The cart to be paid. Both services are asked at the same time.

        PaymentError 401 for an unknown session; 400 for an empty cart; 503 when a service cannot be asked, or says
        what cannot be used: a cart that does not add up is the Cart service's fault and not the client's.
        """
        deadline = time.monotonic() + self._longest
        headers = context.trace_headers()
        user = self._user.ask(session_id, headers, deadline)
        cart = self._cart.ask(session_id, headers, deadline)
        try:
            if self._user.answer(user) is None:
                raise unknown_session()
        except BaseException:
            cart.abandon()
            raise
        answer = self._cart.answer(cart)
        if answer is None:
            raise empty_cart()
        return _read_cart(answer)


class _Failed(Exception):
    """A call brought no answer that can be used; the text is for the log."""


class _Service:
    """GET from one service over kept connections, no more of them than payments at a time."""

    def __init__(self, name: str, endpoint: Endpoint, path: str, settings: Settings, connections: int) -> None:
        self._name = name
        self._path = path
        self._client = HttpClient(
            endpoint.host,
            endpoint.port,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            concurrency=connections,
        )

    def ask(self, session_id: str, headers: dict[str, str], deadline: float) -> Call:
        return self._client.ask(
            "GET", self._path.replace("{session_id}", quote(session_id, safe="")), deadline, headers
        )

    def answer(self, call: Call) -> bytes | None:
        """The body of a 200, None for a 404; PaymentError 503 for anything else."""
        try:
            with metrics.upstream_call(self._name, call.began):
                status, body = call.answer()
                if status not in (200, 404):
                    raise _Failed(f"answered {status}")
        except (*Unanswered, _Failed) as error:
            service = self._name.capitalize()
            log.warning("%s service cannot be used: %s", service, str(error) or type(error).__name__)
            raise unavailable(f"{self._name}_unavailable", f"{service} service is unavailable") from error
        return body if status == 200 else None


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
