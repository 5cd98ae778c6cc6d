"""What the gateway told by webhook: each event once, kept until the order that it is about was looked into.

What an event says is not believed, because it may come late, again, or before an earlier one: it is a reason to ask.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from .database import Database
from .schema import inbox, payments


@dataclass(frozen=True)
class Event:
    """Something happened to a payment, the gateway's `payment_id`."""

    event_id: str
    payment_id: str | None


class Inbox:
    """Shared by threads. Every method raises LedgerUnavailable when the database cannot be used in time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, event: Event, gateway_order_id: str) -> bool:
        """Keep an event; False when it is known already, or about an order that is none of this ledger's."""

        def operation(connection: Connection) -> bool:
            order_id = connection.scalar(_ORDER, {"gateway_order_id": gateway_order_id})
            if order_id is None:
                return False
            kept = {
                "event_id": event.event_id,
                "order_id": order_id,
                "payment_id": event.payment_id,
                "received_at": time.time(),
            }
            return connection.execute(self._database.insert_new(inbox), kept).rowcount == 1

        return self._database.write(operation)

    def unsettled(self, order_id: str) -> list[Event]:
        rows = self._database.read(lambda connection: connection.execute(_UNSETTLED, {"order_id": order_id}).all())
        return [Event(*row) for row in rows]

    def settle(self, events: Iterable[Event]) -> None:
        """Record that their order was looked into after they came."""
        parameters = {"event_ids": [event.event_id for event in events], "now": time.time()}
        if parameters["event_ids"]:
            self._database.write(lambda connection: connection.execute(_SETTLE, parameters))


_ORDER = select(payments.c.order_id).where(payments.c.gateway_order_id == bindparam("gateway_order_id"))
_UNSETTLED = select(inbox.c.event_id, inbox.c.payment_id).where(
    inbox.c.order_id == bindparam("order_id"), inbox.c.settled_at.is_(None)
)
_SETTLE = (
    update(inbox)
    .where(inbox.c.event_id.in_(bindparam("event_ids", expanding=True)))
    .values(settled_at=bindparam("now"))
)
