"""The ledger: what was asked of the gateway, how it ended, who may ask again, and which orders are still to be told.

Every step of a payment is one transaction. The order of the steps is what makes them safe: `open` before the gateway
is asked, then `pay`, `decline` or `doubt`; `close` only when the gateway does not know the payment. Where the customer
pays at the gateway, `await_checkout` comes before that, and `begin_capture` before the gateway is asked to take what
was paid. A step that does not apply any more, because another process took it, says so and changes nothing.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, delete, func, or_, select, text, update

from . import schema
from .answers import Answer
from .database import Database
from .schema import claims, inbox, outbox, payments

KEY_LIFETIME = 24 * 3600.0  # seconds that the answer to an idempotency key is kept
CHECKS = 8  # how often a closed payment is looked into; the index payments_open has this number too
_BEGUN_WITH = "order_id", "session_id", "amount", "currency", "state", "claim", "draft", "created_at", "traceparent"
_DROPPED_AT_A_TIME = 500  # claims, in one transaction


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
    def is_answered(self) -> bool:
        """Whether there is no more to wait for: it has ended, or it is the customer's turn."""
        return self.finished_at is not None or self.state == schema.AWAITING

    def is_over(self, lifetime: float) -> bool:
        """Whether it ended more than `lifetime` seconds ago. A clock that was set back does not make it so."""
        return self.finished_at is not None and time.time() - self.finished_at > lifetime


@dataclass(frozen=True)
class Unresolved:
    """A payment whose outcome the gateway is to be asked for; `answer` is what its client was told so far."""

    order_id: str
    session_id: str
    amount: int
    currency: str
    state: str
    claim: str
    draft: dict
    checks: int
    created_at: float
    gateway_order_id: str | None
    payment_id: str | None
    answer: Answer | None
    told: bool  # whether the inbox has something new of it


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
        self._take = database.prepare(database.insert_new(claims), "name", "order_id", "request_hash")
        self._begin = database.prepare(payments.insert(), *_BEGUN_WITH)
        self._put_out = database.prepare(outbox.insert().inline(), "order_id", "body", "created_at")
        self._finish_open = database.prepare(_FINISH)
        self._finish_of = database.prepare(_FINISH_OF)

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
            while self._take(connection, taken).rowcount != 1:
                standing = _standing(connection, claim.name, for_update=True)
                if standing is None:
                    continue  # given back between the two statements
                if not standing.is_over(claim.lifetime):
                    return standing
                connection.execute(_GIVE_BACK, {"of_order": standing.order_id})
            self._begin(
                connection,
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
            if not self._finish(connection, order_id, schema.PAID, answer, payment_id=payment_id):
                return False
            self._put_out(connection, {"order_id": order_id, "body": event, "created_at": time.time()})
            return True

        done = self._database.write(operation)
        self._database.wake()
        return done

    def decline(self, order_id: str, answer: Answer, claim: Claim) -> bool:
        """Record that the gateway did not take the money."""

        def operation(connection: Connection) -> bool:
            if not self._finish(connection, order_id, schema.DECLINED, answer):
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

    def await_checkout(self, order_id: str, gateway_order_id: str, answer: Answer) -> bool:
        """Record the order that the gateway made of a pending payment, and how the client is told to pay for it."""
        parameters = {
            "of_order": order_id,
            "new_gateway_order_id": gateway_order_id,
            "status": answer.status,
            "body": answer.body.decode(),
        }
        return self._database.write(lambda connection: connection.execute(_AWAIT, parameters).rowcount == 1)

    def begin_capture(self, order_id: str, state: str, payment_id: str) -> bool:
        """Record that the money of this payment is going to be taken; of all who try, one may."""
        parameters = {"of_order": order_id, "old_state": state, "new_payment_id": payment_id}
        return self._database.write(lambda connection: connection.execute(_BEGIN_CAPTURE, parameters).rowcount == 1)

    def close(self, order_id: str, state: str, answer: Answer, keep_claim: bool) -> bool:
        """Record that a payment that stands so took no money, and that what it takes later is to be given back."""

        def operation(connection: Connection) -> bool:
            if not self._finish(connection, order_id, schema.CLOSED, answer, of=state):
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

    def unresolved(self, awaiting_since: float = 0, limit: int = 1000) -> list[Unresolved]:
        """What is to be looked into: payments without outcome; closed ones, CHECKS times; those that the customer was
        to pay for before `awaiting_since`, in seconds since 1970; and those that the inbox has something new of.
        """

        def operation(connection: Connection) -> list[Unresolved]:
            told = {row.order_id: row for row in connection.execute(_TOLD, {"limit": limit})}
            parameters = {"awaiting_since": awaiting_since, "limit": limit}
            left = {row.order_id: row for row in connection.execute(_UNRESOLVED, parameters)}
            return [_unresolved(row, told=order_id in told) for order_id, row in (left | told).items()]

        return self._database.read(operation)

    def of_gateway_order(self, gateway_order_id: str) -> Unresolved | None:
        """The payment for which the gateway made that order, however it stands."""
        parameters = {"gateway_order_id": gateway_order_id}
        row = self._database.read(lambda connection: connection.execute(_BY_GATEWAY_ORDER, parameters).one_or_none())
        return row and _unresolved(row)

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
        """Drop claims of payments that ended, and what was settled of the inbox, `lifetime` seconds ago or more.

        They are looked for before anybody has to wait for it, and dropped some at a time: payments go on beside it.
        """
        before = {"before": time.time() - lifetime}
        over = self._database.read(lambda connection: connection.execute(_OVER, before).all())
        for begin in range(0, len(over), _DROPPED_AT_A_TIME):
            some = [{"of_name": row.name, "of_order": row.order_id} for row in over[begin : begin + _DROPPED_AT_A_TIME]]
            self._database.write(lambda connection, some=some: connection.execute(_DROP, some))
        self._database.write(lambda connection: connection.execute(_FORGET_TOLD, before))

    def _finish(
        self,
        connection: Connection,
        order_id: str,
        state: str,
        answer: Answer,
        *,
        payment_id: str | None = None,
        of: str | None = None,
    ) -> bool:
        """End a payment that stands as `of`, or that may be paid; whether it did."""
        ending = {
            "of_order": order_id,
            "old_state": of,
            "new_state": state,
            "new_payment_id": payment_id,
            "status": answer.status,
            "body": answer.body.decode(),
            "now": time.time(),
        }
        finish = self._finish_of if of else self._finish_open
        return finish(connection, ending).rowcount == 1


# By the name, which the payment has too: claims are found by nothing else.
_GIVE_BACK = delete(claims).where(
    claims.c.name == select(payments.c.claim).where(payments.c.order_id == bindparam("of_order")).scalar_subquery(),
    claims.c.order_id == bindparam("of_order"),
)
_ENDING = {
    "state": bindparam("new_state"),
    "payment_id": func.coalesce(bindparam("new_payment_id"), payments.c.payment_id),
    "response_status": bindparam("status"),
    "response_body": bindparam("body"),
    "finished_at": bindparam("now"),
}
_MAY_BE_PAID = text("state IN ({})".format(", ".join(f"'{state}'" for state in (*schema.UNRESOLVED, schema.AWAITING))))
_OF_ORDER = payments.c.order_id == bindparam("of_order")
_FINISH = update(payments).where(_OF_ORDER, _MAY_BE_PAID).values(_ENDING)
_FINISH_OF = update(payments).where(_OF_ORDER, payments.c.state == bindparam("old_state")).values(_ENDING)
_DOUBT = (
    update(payments)
    .where(payments.c.order_id == bindparam("of_order"), payments.c.state.in_([schema.PENDING, schema.CAPTURING]))
    .values(state=bindparam("new_state"), response_status=bindparam("status"), response_body=bindparam("body"))
)
_AWAIT = (
    update(payments)
    .where(payments.c.order_id == bindparam("of_order"), payments.c.state == schema.PENDING)
    .values(
        state=schema.AWAITING,
        gateway_order_id=bindparam("new_gateway_order_id"),
        response_status=bindparam("status"),
        response_body=bindparam("body"),
    )
)
_BEGIN_CAPTURE = (
    update(payments)
    .where(payments.c.order_id == bindparam("of_order"), payments.c.state == bindparam("old_state"))
    .values(state=schema.CAPTURING, payment_id=bindparam("new_payment_id"))
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
# In the words of the index payments_open, which is used for nothing else.
_OPEN = text("(state IN ('pending', 'awaiting', 'capturing', 'unknown') OR (state = 'closed' AND checks < 8))")
_UNRESOLVED = (
    select(payments)
    .where(
        _OPEN,
        or_(payments.c.state != schema.AWAITING, payments.c.created_at < bindparam("awaiting_since")),
    )
    .order_by(payments.c.created_at)
    .limit(bindparam("limit"))
)
_TOLD = (
    select(payments)
    .where(payments.c.order_id.in_(select(inbox.c.order_id).where(inbox.c.settled_at.is_(None))))
    .order_by(payments.c.created_at)
    .limit(bindparam("limit"))
)
_BY_GATEWAY_ORDER = select(payments).where(payments.c.gateway_order_id == bindparam("gateway_order_id"))
_UNRESOLVED_COUNT = select(func.count()).select_from(payments).where(_OPEN, payments.c.state.in_(schema.UNRESOLVED))
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
_OVER = (
    select(claims.c.name, claims.c.order_id)
    .join(payments, payments.c.order_id == claims.c.order_id)
    .where(payments.c.finished_at < bindparam("before"))
    .order_by(claims.c.name)  # so that two hosts, of which one is no longer elected, do not cross when they drop them
)
# One that was taken anew meanwhile, for another payment, stays.
_DROP = delete(claims).where(claims.c.name == bindparam("of_name"), claims.c.order_id == bindparam("of_order"))
_FORGET_TOLD = delete(inbox).where(inbox.c.settled_at < bindparam("before"))


def _standing(connection: Connection, name: str, for_update: bool = False) -> Standing | None:
    return _one(connection, _BY_CLAIM_FOR_UPDATE if for_update else _BY_CLAIM, {"name": name})


def _one(connection: Connection, query: object, parameters: dict) -> Standing | None:
    row = connection.execute(query, parameters).one_or_none()
    if row is None:
        return None
    request_hash = getattr(row, "request_hash", "")
    return Standing(row.order_id, request_hash, row.state, _answer(row), row.finished_at)


def _unresolved(row: Row, told: bool = False) -> Unresolved:
    return Unresolved(
        row.order_id,
        row.session_id,
        row.amount,
        row.currency,
        row.state,
        row.claim,
        json.loads(row.draft),
        row.checks,
        row.created_at,
        row.gateway_order_id,
        row.payment_id,
        _answer(row),
        told,
    )


def _answer(row: Row) -> Answer | None:
    return None if row.response_status is None else Answer(row.response_status, row.response_body.encode())
