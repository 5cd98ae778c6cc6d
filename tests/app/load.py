"""Clients that pay, an Order Processor that takes the orders, and the verdict on what came of both."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields

import pika

from service import DEMO_BODY, PATIENCE
from worlds import APART

CLIENTS = 4  # with a double click each, far from filling the slots of an instance: none has to queue
# Seconds from one payment of a client to its next, so that the processors are not the limit, also of three worlds.
_PAUSE = 0.25 if APART else 0.1
_ATTEMPTS, _RETRY = 4, 0.4  # how often and after how many seconds a client asks again that got no final answer


@dataclass(frozen=True)
class Answer:
    """What came of one request; `status` is None when no answer came, and `error` says why."""

    session: str
    status: int | None
    order_id: str | None
    repeated: bool
    seconds: float
    error: str | None = None

    @property
    def failed(self) -> bool:
        return self.status is None or self.status >= 500

    @property
    def final(self) -> bool:
        """Whether a client has nothing to ask any more: 409 is for later, and a failure may be, unless it stands."""
        return self.repeated or not (self.failed or self.status == 409)


class Load:
    """Clients of one deployment in a closed loop, from the beginning of the context to its end.

    Each pays for new sessions, whose names begin with `name`, with an idempotency key and without, some of them twice.
    With several ports, every request goes to another one.
    """

    def __init__(self, name: str, ports: list[int]) -> None:
        self.name = name
        self.answers: list[Answer] = []
        self._ports = itertools.cycle(ports)
        self._habits = itertools.cycle([self._with_key, self._plainly, self._with_key_twice, self._by_double_click])
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(2 * CLIENTS)
        self._busy = [threading.Lock() for _ in range(CLIENTS)]  # each held while its client pays
        self._clients = [threading.Thread(target=self._shop, args=[index]) for index in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._clients:
            client.join()
        self._threads.shutdown()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No client pays, and none is waiting for an answer."""
        with ExitStack() as held:
            for busy in self._busy:
                held.enter_context(busy)
            yield

    def session(self, text: str) -> str:
        return f"{self.name}-{text}"

    def post(self, session: str, key: str | None = None, body: object = DEMO_BODY) -> Answer:
        """One request. The gateway is not told the session, but the payment method, so that is the session's name."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        connection = http.client.HTTPConnection("127.0.0.1", next(self._ports), timeout=PATIENCE)
        began = time.monotonic()
        try:
            connection.request("POST", f"/pay/{session}", json.dumps({**body, "paymentMethod": session}), headers)
            response = connection.getresponse()
            document = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            answer = Answer(session, None, None, False, time.monotonic() - began, type(error).__name__)
        else:
            repeated = response.headers["Idempotency-Replayed"] == "true"
            seconds = time.monotonic() - began
            answer = Answer(session, response.status, document.get("orderId"), repeated, seconds)
        finally:
            connection.close()
        self.answers.append(answer)
        return answer

    def post_at_once(self, session: str, key: str | None = None, times: int = 2) -> list[Answer]:
        return list(self._threads.map(lambda _: self.post(session, key), range(times)))

    def statuses(self) -> Counter[int | str | None]:
        return Counter(answer.status or answer.error for answer in list(self.answers))

    def _shop(self, client: int) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            with self._busy[client]:
                next(self._habits)(self.session(f"{client}-{number}"))
            self._stop.wait(_PAUSE)

    def _plainly(self, session: str) -> None:
        self._until_final(session, None)

    def _with_key(self, session: str) -> None:
        self._until_final(session, session)

    def _with_key_twice(self, session: str) -> None:
        self._until_final(session, session)
        self.post(session, session)

    def _by_double_click(self, session: str) -> None:
        if not all(answer.final for answer in self.post_at_once(session)):
            self._until_final(session, None)

    def _until_final(self, session: str, key: str | None) -> None:
        for _ in range(_ATTEMPTS):
            if self.post(session, key).final or self._stop.wait(_RETRY):
                return


class OrderProcessor:
    """Takes the orders out of a queue, from its start to `stop`, whatever happens to the broker or the queue."""

    def __init__(self, connect: Callable[[], pika.BlockingConnection], queue: str) -> None:
        self.orders: dict[str, list[bytes]] = {}  # by order id, every event that came
        self._connect = connect
        self._queue = queue
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Leave the orders in the queue until `resume`."""
        self._idle.clear()
        self._paused.set()
        assert self._idle.wait(PATIENCE)

    def resume(self) -> None:
        self._paused.clear()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._paused.is_set():
                self._idle.set()
            else:
                self._take()
            self._stop.wait(0.1)

    def _take(self) -> None:
        try:
            with self._connect() as connection:
                channel = connection.channel()
                channel.basic_qos(prefetch_count=50)
                for method, properties, body in channel.consume(self._queue, inactivity_timeout=0.1):
                    if method:
                        self.orders.setdefault(properties.message_id, []).append(body)
                        channel.basic_ack(method.delivery_tag)
                    if self._stop.is_set() or self._paused.is_set():
                        return
        except (pika.exceptions.AMQPError, OSError):
            pass  # away, or without the queue; tried again


@dataclass
class Row:
    """What one scenario came to on one deployment.

    `failed` are requests without an answer or with 5xx; those that are neither `ok` nor `failed` were refused as they
    should be, with 409 or 422. The details are for the test alone.
    """

    scenario: str
    ledger: str
    instances: int
    requests: int
    ok: int
    failed: int
    lost: int
    doubled: int
    charged_without_order: int
    slowest_s: float
    statuses: Counter = field(repr=False)
    details: dict[str, object] = field(repr=False)

    def figures(self) -> dict[str, object]:
        """The row as it is shown."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.repr}


@dataclass(frozen=True)
class Verdict:
    """Which order ids and sessions of one load are wrong, by the gateway's book and the orders that came."""

    lost: set[str]
    doubled: set[str]
    charged_without_order: set[str]
    order_without_charge: set[str]

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.charged_without_order or self.order_without_charge)


def judge(load: Load, charges: list[dict], orders: dict[str, list[bytes]]) -> Verdict:
    """`charges` may be those of others, too; each session was meant to be paid for once."""
    prefix = load.session("")
    answers = list(load.answers)
    held = [each for each in charges if each["method"].startswith(prefix) and not each["voided"]]
    ours = {order_id: bodies for order_id, bodies in list(orders.items()) if _session(bodies).startswith(prefix)}
    paid = {answer.order_id for answer in answers if answer.status == 200}
    charged = Counter(each["method"] for each in held)
    answered = Counter(session for session, _ in {(each.session, each.order_id) for each in answers if each.order_id})
    charged_orders = {each["order_id"] for each in held}
    return Verdict(
        lost=paid - ours.keys(),
        doubled={session for counted in (charged, answered) for session, count in counted.items() if count > 1}
        | {order_id for order_id, bodies in ours.items() if len(set(bodies)) > 1},
        charged_without_order=charged_orders - ours.keys(),
        order_without_charge=ours.keys() - charged_orders,
    )


def _session(bodies: list[bytes]) -> str:
    return json.loads(bodies[0])["sessionId"]


def row(scenario: str, ledger: str, instances: int, load: Load, verdict: Verdict) -> Row:
    answers = load.answers
    return Row(
        scenario=scenario,
        ledger=ledger,
        instances=instances,
        requests=len(answers),
        ok=sum(answer.status == 200 for answer in answers),
        failed=sum(answer.failed for answer in answers),
        lost=len(verdict.lost),
        doubled=len(verdict.doubled),
        charged_without_order=len(verdict.charged_without_order),
        slowest_s=round(max((answer.seconds for answer in answers), default=0.0), 2),
        statuses=load.statuses(),
        details={name: sorted(values)[:5] for name, values in vars(verdict).items() if values},
    )
