"""A steady load on one address: every answer but 200 is a failed request, and so is none."""

import http.client
import itertools
import json
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

_INTERVAL = 0.018  # seconds from one request to the next, whatever becomes of it
_PATIENCE = 60.0  # seconds that a client waits: a restart, in which it has to, takes five at most
_LONGEST = 600.0  # seconds after which the load ends by itself; a run takes one minute


@dataclass(frozen=True)
class Answer:
    status: int | str
    seconds: float
    began: float  # by the monotonic clock
    order: str | None  # the id of the order that was answered
    message: str | None  # of an error that was answered


class Load:
    """From the beginning of the context to its end, health checks and payments below the URL `base` take turns."""

    def __init__(self, base: str) -> None:
        self.answers: list[Answer] = []
        self._base = urlsplit(base)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1)
        self._stop.set()
        self._thread.join()

    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    def row(self, scenario: str) -> dict[str, object]:
        longest = max(answer.seconds for answer in self.answers)
        return {
            "scenario": scenario,
            "requests": len(self.answers),
            "failed": len(self.failed()),
            "longest_s": round(longest, 2),
        }

    def _run(self) -> None:
        began = time.monotonic()
        requests = []
        for number in itertools.count():
            due = began + number * _INTERVAL
            if self._stop.wait(max(0.0, due - time.monotonic())) or due - began > _LONGEST:
                break
            requests.append(threading.Thread(target=self._ask, args=[number]))
            requests[-1].start()
        for request in requests:
            request.join()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._base.netloc, timeout=_PATIENCE)
        began = time.monotonic()
        order = message = None
        try:
            if number % 2:
                connection.request("GET", f"{self._base.path}/health")
            else:
                session = f"load-{time.time_ns()}-{number}"
                path = f"{self._base.path}/pay/{session}"
                connection.request("POST", path, b"{}", {"Content-Type": "application/json"})
            response = connection.getresponse()
            body = response.read()
            status: int | str = response.status
            if status == 200:
                order = json.loads(body).get("orderId")
            else:
                message = body[:200].decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            status = repr(error)
        finally:
            connection.close()
        self.answers.append(Answer(status, time.monotonic() - began, began, order, message))
