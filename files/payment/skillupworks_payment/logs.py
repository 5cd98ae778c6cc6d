"""Where the logs go: to stderr, for the journal to keep; payment attempts to a file as well. One JSON object a line."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

from . import attempts, clock, context
from .settings import SettingsError

_ORDER_ID = re.compile(r"ORD-\d{13,}")


class JsonFormatter(logging.Formatter):
    """When, how bad, where, what; the request and the trace that it belongs to, and the order that it is about, if any.

    `fields` of a record, which logging's `extra` sets, stand beside them. One for all handlers makes each line once.
    """

    def format(self, record: logging.LogRecord) -> str:
        if not hasattr(record, "line"):
            record.line = self._line(record)
        return record.line

    def _line(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line = {
            "time": clock.rfc3339(datetime.fromtimestamp(record.created, UTC), timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        if request := context.current():
            line |= {
                "request_id": request.request_id,
                "trace_id": request.trace.trace_id,
                "span_id": request.trace.span_id,
            }
        if order_id := _ORDER_ID.search(message):
            line["order_id"] = order_id[0]
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(log_dir: Path | None) -> None:
    """Set up logging, with attempts also appended to `payment.log` in `log_dir`; SettingsError when that cannot be.

    Worker processes share the file: each line is one write to a descriptor opened for appending. WatchedFileHandler
    opens it anew after logrotate has moved it away.
    """
    journal = logging.StreamHandler(sys.stderr)
    handlers: list[logging.Handler] = [journal]
    if log_dir:
        try:
            handlers.append(WatchedFileHandler(log_dir / "payment.log", encoding="utf-8"))
        except OSError as error:
            raise SettingsError(
                f"PAYMENT_LOG_DIR is '{log_dir}': write a directory that the service may write to ({error.strerror})"
            ) from error
    formatter = JsonFormatter()
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(handlers=[journal], level=logging.INFO)
    logging.captureWarnings(True)
    logging._srcfile = None  # as logging's manual says: no line tells whence it was logged, so nothing looks that up
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # the relay says in one line what pika does in ten
    logging.getLogger("alembic").setLevel(logging.WARNING)
    attempts.log.propagate = False
    attempts.log.handlers = handlers
