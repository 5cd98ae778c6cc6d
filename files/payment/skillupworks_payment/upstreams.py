"""The User and Cart services: is the session known, and what is in its cart."""

import logging
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError

from . import context, metrics, money, strict_json
from .errors import PaymentError, cart_too_large, empty_cart, unavailable, unknown_session
from .http_client import Call, HttpClient, TooLong, Unanswered
from .settings import Endpoint, Settings
from .validation import MOST_LINES, MOST_PIECES, Quantity, Sku, problems

log = logging.getLogger(__name__)


def _pieces(number: object) -> object:
    """`strict_json` has a whole number of twenty digits as a Decimal; what counts of it is that it is too many."""
    return MOST_PIECES + 1 if isinstance(number, Decimal) and number > MOST_PIECES else number


class CartItem(BaseModel):
    """One line of a cart, amounts in minor units; `subtotal` is `qty` times `price`."""

    model_config = ConfigDict(strict=True, frozen=True)

    sku: Sku
    qty: Annotated[Quantity, BeforeValidator(_pieces)]
    price: Annotated[int, PlainValidator(money.exact)]
    subtotal: Annotated[int, PlainValidator(money.exact)]


class Cart(BaseModel):
    """A cart in robot-shop's shape, amounts in minor units; `tax` is the part of `total` that is tax."""

    model_config = ConfigDict(strict=True, frozen=True)

    total: Annotated[int, PlainValidator(money.exact)] = 0
    tax: Annotated[int, PlainValidator(money.rounded)] = 0
    items: Annotated[tuple[CartItem, ...], Field(strict=False, max_length=MOST_LINES)] = ()

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
        self._cart = _Service("cart", settings.cart, settings.cart_path, settings, concurrency, cart_too_large)

    def cart_of_known_session(self, session_id: str) -> Cart:
        """The cart to be paid. Both services are asked at the same time.

        PaymentError 401 for an unknown session; 400 for a cart that is empty or too large; 503 when a service cannot
        be asked, or says what cannot be used: a cart that does not add up is the Cart service's fault and not the
        client's.
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

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        path: str,
        settings: Settings,
        connections: int,
        too_long: Callable[[str], PaymentError] | None = None,
    ) -> None:
        """`too_long` makes the error for an answer that is, where a client can have caused that."""
        self._name = name
        self._path = path
        self._too_long = too_long
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
        """The body of a 200, None for a 404; PaymentError for anything else: 503, or that of `too_long`."""
        try:
            with metrics.upstream_call(self._name, call.began):
                status, body = call.answer()
                if status not in (200, 404):
                    raise _Failed(f"answered {status}")
        except (*Unanswered, _Failed) as error:
            if self._too_long and isinstance(error, TooLong):
                raise self._too_long(str(error)) from error
            service = self._name.capitalize()
            log.warning("%s service cannot be used: %s", service, str(error) or type(error).__name__)
            raise unavailable(f"{self._name}_unavailable", f"{service} service is unavailable") from error
        return body if status == 200 else None


def _read_cart(answer: bytes) -> Cart:
    try:
        cart = Cart.model_validate(strict_json.parse(answer))
        problem = cart.contradiction()
    except ValidationError as error:
        found = problems(error)
        if all(each.too_large for each in found):
            raise cart_too_large(str(found[0])) from error
        problem = next(str(each) for each in found if not each.too_large)
    except strict_json.InvalidJson as error:
        problem = str(error)
    if problem:
        log.error("Cart service gave a cart that cannot be charged: %s", problem)
        raise unavailable("cart_inconsistent", "Cart service is unavailable")
    if not cart.items:
        raise empty_cart()
    return cart
