"""Orders: their ids, and the event that tells the Order Processor of one. README.md has the event's schema."""

import json
import secrets
import time
from dataclasses import dataclass
from datetime import datetime

from . import clock, money
from .gateway import Charge
from .upstreams import Cart


@dataclass(frozen=True)
class Order:
    """A cart that was paid for."""

    charge: Charge
    payment_id: str
    session_id: str
    cart: Cart
    placed_at: datetime

    @property
    def order_id(self) -> str:
        return self.charge.order_id

    @property
    def amount(self) -> int | float:
        """What was charged, in major units as JSON has them."""
        return money.to_json(self.charge.amount)

    @property
    def timestamp(self) -> str:
        return clock.rfc3339(self.placed_at)

    def event(self) -> bytes:
        """The event's JSON body."""
        event = {
            "orderId": self.order_id,
            "sessionId": self.session_id,
            "paymentId": self.payment_id,
            "paymentMethod": self.charge.method,
            "amount": self.amount,
            "amountMinor": self.charge.amount,
            "currency": self.charge.currency,
            "tax": money.to_json(self.cart.tax),
            "items": [
                {
                    "sku": item.sku,
                    "qty": item.qty,
                    "price": money.to_json(item.price),
                    "subtotal": money.to_json(item.subtotal),
                }
                for item in self.cart.items
            ],
            "timestamp": self.timestamp,
        }
        return json.dumps(event, separators=(",", ":")).encode()


def new_order_id() -> str:
    """ORD- and 25 digits: the time in milliseconds (13), then a random number (12) from the operating system.

    Two ids are equal only when two orders of one millisecond draw the same of 10**12 numbers, whatever thread, worker
    or host they come from. `secrets` and not `random`, whose state all forked workers would share.
    """
    return f"ORD-{time.time_ns() // 1_000_000}{secrets.randbelow(10**12):012}"
