"""One payment, from a valid request to an order that RabbitMQ has."""

import logging
from collections import Counter

from . import clock, metrics, money
from .attempts import Attempt
from .errors import PaymentError, charge_failed, invalid, unavailable
from .gateway import Charge, Declined, Gateway, GatewayTimeout
from .orders import Order, new_order_id
from .publisher import NotConfirmed, Publisher
from .upstreams import Cart, Upstreams
from .validation import PaymentRequest

log = logging.getLogger(__name__)


class Payments:
    """Makes payments. One serves all threads of a process."""

    def __init__(self, upstreams: Upstreams, gateway: Gateway, publisher: Publisher, currency: str) -> None:
        self._upstreams = upstreams
        self._gateway = gateway
        self._publisher = publisher
        self._currency = currency

    def pay(self, attempt: Attempt, request: PaymentRequest) -> Order:
        """Charge the cart of the attempt's session and hand over the order; PaymentError says why there is none.

        Nothing is charged while RabbitMQ is known to be away, and a charge whose order RabbitMQ does not confirm is
        given back. `attempt` is told the amount and the order id as soon as there are any.
        """
        self._publisher.start()
        cart = self._upstreams.cart_of_known_session(attempt.session_id)
        compare(request, cart)
        attempt.amount = cart.total
        if not self._publisher.is_ready():
            raise _orders_unavailable("broker_unavailable")
        attempt.order_id = new_order_id()
        charge = Charge(attempt.order_id, cart.total, self._currency, request.payment_method)
        payment_id = self._charge(charge)
        order = Order(charge, payment_id, attempt.session_id, cart, clock.now())
        try:
            self._publisher.publish(order.order_id, order.event())
        except NotConfirmed as error:
            log.error("order %s was not confirmed, giving payment %s back: %s", order.order_id, payment_id, error)
            self._void(payment_id)
            raise _orders_unavailable("order_not_confirmed") from error
        return order

    def _charge(self, charge: Charge) -> str:
        try:
            with metrics.upstream_call("gateway"):
                return self._gateway.charge(charge)
        except Declined as error:
            raise charge_failed("declined", "Payment declined") from error
        except GatewayTimeout as error:
            raise charge_failed("gateway_timeout", "Gateway timeout") from error

    def _void(self, payment_id: str) -> None:
        try:
            self._gateway.void(payment_id)
        except Exception:
            metrics.voids.labels("failed").inc()
            log.exception("payment %s was charged without an order and could not be given back", payment_id)
        else:
            metrics.voids.labels("done").inc()


def compare(request: PaymentRequest, cart: Cart) -> None:
    """PaymentError 400 naming `total`, `items` or one of them when the request shows another cart than the real one."""
    if request.total is not None and request.total != cart.total:
        asked, real = money.to_json(request.total), money.to_json(cart.total)
        raise invalid("total", f"total is {asked}, but the cart's is {real}")
    if request.items is None:
        return
    lines = Counter((item.sku, item.qty, item.price) for item in cart.items)
    for index, item in enumerate(request.items):
        if not lines[item.sku, item.qty, item.price]:
            raise invalid(f"items[{index}]", f"items[{index}] is not in the cart with this sku, qty and price")
        lines[item.sku, item.qty, item.price] -= 1
    if lines.total():
        raise invalid("items", "items lacks some of the cart's")


def _orders_unavailable(reason: str) -> PaymentError:
    return unavailable(reason, "Orders cannot be taken at the moment")
