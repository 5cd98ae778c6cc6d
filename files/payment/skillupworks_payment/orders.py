"""Orders: their ids, and the event that tells the Order Processor of one. README.md has the event's schema."""

import json
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import clock, money
from .gateway import Charge
from .upstreams import Cart


@dataclass(frozen=True)
class Order:
    """A cart that was paid for: the `draft` of before the charge, and what came of that."""

    draft: dict[str, Any]
    payment_id: str
    placed_at: datetime

    @property
    def order_id(self) -> str:
        return self.draft["orderId"]

    @property
    def session_id(self) -> str:
        return self.draft["sessionId"]

    @property
    def amount(self) -> int | float:
        """What was charged, in major units as JSON has them."""
        return self.draft["amount"]

    @property
    def timestamp(self) -> str:
        return clock.rfc3339(self.placed_at)

    def event(self) -> str:
        """The event's JSON body."""
        paid = {"paymentId": self.payment_id, "timestamp": self.timestamp}
        return json.dumps(self.draft | paid, separators=(",", ":"))


def draft(charge: Charge, session_id: str, cart: Cart) -> dict[str, Any]:
    """The event of the order that the charge is going to make, as far as it is known before."""
    return {
        "orderId": charge.order_id,
        "sessionId": session_id,
        "paymentMethod": charge.method,
        "amount": money.to_json(charge.amount),
        "amountMinor": charge.amount,
        "currency": charge.currency,
        "tax": money.to_json(cart.tax),
        "items": [
            {
                "sku": item.sku,
                "qty": item.qty,
                "price": money.to_json(item.price),
                "subtotal": money.to_json(item.subtotal),
            }
            for item in cart.items
        ],
    }


def new_order_id() -> str:
    """ORD- and 25 digits: the time in milliseconds (13), then a random number (12) from the operating system.

    Two ids are equal only when two orders of one millisecond draw the same of 10**12 numbers, whatever thread, worker
    or host they come from. `secrets` and not `random`, whose numbers can be told from those before.
    """
    return f"ORD-{time.time_ns() // 1_000_000}{secrets.randbelow(10**12):012}"
