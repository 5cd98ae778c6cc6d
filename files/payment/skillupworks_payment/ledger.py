"""The ledger: what was asked of the gateway, how it ended, who may ask again, and which orders are still to be told.

Every step of a payment is one transaction. The order of the steps is what makes them safe: `open` before the gateway
is asked, then `pay`, `decline` or `doubt`; `close` only when the gateway does not know the payment. A step that does
not apply any more, because another process took it, says so and changes nothing.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, func, select, update

from . import schema
from .answers import Answer
from .database import Database
from .schema import claims, outbox, payments

KEY_LIFETIME = 24 * 3600.0  # seconds that the answer to an idempotency key is kept


@dataclass(frozen=True)
class Claim:
    """What makes two requests the same: one `name`, one payment. `lifetime` seconds after its end it may be taken anew.

    `request_hash` tells whether a request under the same name is really the same. `survives` says whether the claim
    stands when no money was taken: then the refusal is what a repeated request gets, else it may try again.
    """

    name: str
    request_hash: str
    lifetime: float
    survives: bool


@dataclass(frozen=True)
class NewPayment:
    """A payment to come, amount in minor units; `draft` is the order event as far as it is known, `traceparent` the
    trace that it goes with."""

    order_id: str
    session_id: str
    amount: int
    currency: str
    draft: dict
    traceparent: str | None = None


@dataclass(frozen=True)
class Standing:
    """How a payment stands; `answer` is what its client was or will be told."""

    order_id: str
    request_hash: str
    state: str
    answer: Answer | None
    finished_at: float | None

    @property
    def has_ended(self) -> bool:
        return self.finished_at is not None

    def is_over(self, lifetime: float) -> bool:
        """Whether it ended more than `lifetime` seconds ago. A clock that was set back does not make it so."""
        return self.finished_at is not None and time.time() - self.finished_at > lifetime


@dataclass(frozen=True)
class Unresolved:
    """A payment whose outcome the gateway is to be asked for."""

    order_id: str
    session_id: str
    state: str
    claim: str
    draft: dict
    checks: int


@dataclass(frozen=True)
class Event:
    """An order event to publish; `created_at` in seconds since 1970."""

    sequence: int
    order_id: str
    body: str
    created_at: float
    traceparent: str | None


@dataclass(frozen=True)
class Backlog:
    """What is still to do: events not yet confirmed, the age of the oldest in seconds, and payments without outcome."""

    unpublished: int
    oldest: float
    problem: str | None
    unresolved: int


class Ledger:
    """Shared by threads. Every method raises LedgerUnavailable when the database cannot be used in time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, name: str) -> Standing | None:
        """The payment that has the claim of that name."""
        return self._database.read(lambda connection: _standing(connection, name))

    def outcome(self, order_id: str) -> Standing | None:
        """How the payment stands; None when the ledger does not know it."""
        return self._database.read(lambda connection: _one(connection, _BY_ORDER, {"order_id": order_id}))

    def open(self, payment: NewPayment, claim: Claim) -> Standing | None:
        """Record the payment as pending and take the claim for it; or else the payment that has the claim."""

        def operation(connection: Connection) -> Standing | None:
            taken = {"name": claim.name, "order_id": payment.order_id, "request_hash": claim.request_hash}
            while connection.execute(self._database.insert_new(claims), taken).rowcount != 1:
                standing = _standing(connection, claim.name, for_update=True)
                if standing is None:
                    continue  # given back between the two statements
                if not standing.is_over(claim.lifetime):
                    return standing
                connection.execute(_GIVE_BACK, {"of_order": standing.order_id})
            connection.execute(
                payments.insert(),
                {
                    "order_id": payment.order_id,
                    "session_id": payment.session_id,
                    "amount": payment.amount,
                    "currency": payment.currency,
                    "state": schema.PENDING,
                    "claim": claim.name,
                    "draft": json.dumps(payment.draft, separators=(",", ":")),
                    "created_at": time.time(),
                    "traceparent": payment.traceparent,
                },
            )
            return None

        return self._database.write(operation)

    def pay(self, order_id: str, payment_id: str, answer: Answer, event: str) -> bool:
        """Record that the gateway took the money, and put the order event into the outbox."""

        def operation(connection: Connection) -> bool:
            if not _finish(connection, order_id, schema.PAID, answer, payment_id=payment_id):
                return False
            connection.execute(outbox.insert(), {"order_id": order_id, "body": event, "created_at": time.time()})
            return True

        done = self._database.write(operation)
        self._database.wake()
        return done

    def decline(self, order_id: str, answer: Answer, claim: Claim) -> bool:
        """Record that the gateway did not take the money."""

        def operation(connection: Connection) -> bool:
            if not _finish(connection, order_id, schema.DECLINED, answer):
                return False
            if not claim.survives:
                connection.execute(_GIVE_BACK, {"of_order": order_id})
            return True

        return self._database.write(operation)

    def doubt(self, order_id: str, answer: Answer) -> bool:
        """Record that the gateway did not say whether it took the money, and what the client was told."""
        parameters = {
            "of_order": order_id,
            "new_state": schema.UNKNOWN,
            "status": answer.status,
            "body": answer.body.decode(),
        }
        done = self._database.write(lambda connection: connection.execute(_DOUBT, parameters).rowcount == 1)
        self._database.wake()
        return done

    def close(self, order_id: str, answer: Answer, keep_claim: bool) -> bool:
        """Record that the gateway does not know the payment; `answer` when no other was given before."""

        def operation(connection: Connection) -> bool:
            before = _one(connection, _BY_ORDER, {"order_id": order_id})
            given = before.answer if before and before.answer else answer
            if not _finish(connection, order_id, schema.CLOSED, given):
                return False
            if not keep_claim:
                connection.execute(_GIVE_BACK, {"of_order": order_id})
            return True

        return self._database.write(operation)

    def checked(self, order_id: str, checks: int) -> None:
        """Record how often a closed payment was looked into."""
        self._database.write(
            lambda connection: connection.execute(_CHECKED, {"of_order": order_id, "new_checks": checks})
        )

    def unresolved(self, most_checks: int, limit: int = 1000) -> list[Unresolved]:
        """Payments that are pending, unknown, or closed and looked into less than `most_checks` times since."""
        parameters = {"most_checks": most_checks, "limit": limit}
        rows = self._database.read(lambda connection: connection.execute(_UNRESOLVED, parameters).all())
        return [
            Unresolved(row.order_id, row.session_id, row.state, row.claim, json.loads(row.draft), row.checks)
            for row in rows
        ]

    def next_events(self, after: int, limit: int) -> list[Event]:
        """The oldest events behind the sequence number `after`, in their order."""
        parameters = {"after": after, "limit": limit}
        rows = self._database.read(lambda connection: connection.execute(_NEXT_EVENTS, parameters).all())
        return [Event(*row) for row in rows]

    def published(self, sequences: Iterable[int]) -> None:
        """Take events that RabbitMQ has confirmed out of the outbox."""
        parameters = {"sequences": list(sequences)}
        self._database.write(lambda connection: connection.execute(_PUBLISHED, parameters))

    def refused(self, sequence: int, problem: str) -> None:
        """Record why RabbitMQ did not take an event."""
        parameters = {"of_sequence": sequence, "problem": problem[:200]}
        self._database.write(lambda connection: connection.execute(_REFUSED, parameters))

    def backlog(self) -> Backlog:
        """What is still to do, exactly and over all processes."""

        def operation(connection: Connection) -> Backlog:
            count, oldest, problem = connection.execute(_BACKLOG).one()
            unresolved = connection.execute(_UNRESOLVED_COUNT).scalar_one()
            return Backlog(count, max(0.0, time.time() - oldest) if count else 0.0, problem, unresolved)

        return self._database.read(operation)

    def forget(self, lifetime: float) -> None:
        """Drop the claims of payments that ended more than `lifetime` seconds ago."""
        parameters = {"before": time.time() - lifetime}
        self._database.write(lambda connection: connection.execute(_FORGET, parameters))


_GIVE_BACK = delete(claims).where(claims.c.order_id == bindparam("of_order"))
_FINISH = (
    update(payments)
    .where(
        payments.c.order_id == bindparam("of_order"),
        payments.c.state.in_([schema.PENDING, schema.UNKNOWN]),
    )
    .values(
        state=bindparam("new_state"),
        payment_id=bindparam("new_payment_id"),
        response_status=bindparam("status"),
        response_body=bindparam("body"),
        finished_at=bindparam("now"),
    )
)
_DOUBT = (
    update(payments)
    .where(payments.c.order_id == bindparam("of_order"), payments.c.state == schema.PENDING)
    .values(state=bindparam("new_state"), response_status=bindparam("status"), response_body=bindparam("body"))
)
_CHECKED = update(payments).where(payments.c.order_id == bindparam("of_order")).values(checks=bindparam("new_checks"))
_STANDING = (
    payments.c.order_id,
    payments.c.state,
    payments.c.response_status,
    payments.c.response_body,
    payments.c.finished_at,
)
_BY_ORDER = select(*_STANDING).where(payments.c.order_id == bindparam("order_id"))
_BY_CLAIM = (
    select(claims.c.request_hash, *_STANDING)
    .join(payments, payments.c.order_id == claims.c.order_id)
    .where(claims.c.name == bindparam("name"))
)
_BY_CLAIM_FOR_UPDATE = _BY_CLAIM.with_for_update(of=claims)
_UNRESOLVED = (
    select(
        payments.c.order_id,
        payments.c.session_id,
        payments.c.state,
        payments.c.claim,
        payments.c.draft,
        payments.c.checks,
    )
    .where(
        payments.c.state.in_([schema.PENDING, schema.UNKNOWN])
        | and_(payments.c.state == schema.CLOSED, payments.c.checks < bindparam("most_checks"))
    )
    .order_by(payments.c.created_at)
    .limit(bindparam("limit"))
)
_UNRESOLVED_COUNT = select(func.count()).where(payments.c.state.in_([schema.PENDING, schema.UNKNOWN]))
_NEXT_EVENTS = (
    select(outbox.c.sequence, outbox.c.order_id, outbox.c.body, outbox.c.created_at, payments.c.traceparent)
    .outerjoin(payments, payments.c.order_id == outbox.c.order_id)
    .where(outbox.c.sequence > bindparam("after"))
    .order_by(outbox.c.sequence)
    .limit(bindparam("limit"))
)
_PUBLISHED = delete(outbox).where(outbox.c.sequence.in_(bindparam("sequences", expanding=True)))
_REFUSED = update(outbox).where(outbox.c.sequence == bindparam("of_sequence")).values(problem=bindparam("problem"))
_BACKLOG = select(func.count(), func.min(outbox.c.created_at), func.max(outbox.c.problem)).select_from(outbox)
_FORGET = delete(claims).where(
    claims.c.order_id.in_(select(payments.c.order_id).where(payments.c.finished_at < bindparam("before")))
)


def _standing(connection: Connection, name: str, for_update: bool = False) -> Standing | None:
    return _one(connection, _BY_CLAIM_FOR_UPDATE if for_update else _BY_CLAIM, {"name": name})


def _one(connection: Connection, query: object, parameters: dict) -> Standing | None:
    row = connection.execute(query, parameters).one_or_none()
    if row is None:
        return None
    answer = None if row.response_status is None else Answer(row.response_status, row.response_body.encode())
    request_hash = getattr(row, "request_hash", "")
    return Standing(row.order_id, request_hash, row.state, answer, row.finished_at)


def _finish(connection: Connection, order_id: str, state: str, answer: Answer, payment_id: str | None = None) -> bool:
    """End an unresolved payment; whether it was one."""
    changed = connection.execute(
        _FINISH,
        {
            "of_order": order_id,
            "new_state": state,
            "new_payment_id": payment_id,
            "status": answer.status,
            "body": answer.body.decode(),
            "now": time.time(),
        },
    )
    return changed.rowcount == 1
