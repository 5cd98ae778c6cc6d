"""Where the logs go: to stderr, for the journal to keep; payment attempts to a file as well."""

import logging
import sys
from logging.handlers import WatchedFileHandler
from pathlib import Path

from . import attempts
from .settings import SettingsError


def configure(log_dir: Path | None) -> None:
    """Set up logging, with attempts also appended to `payment.log` in `log_dir`; SettingsError when that cannot be.

    Worker processes share the file: each line is one write to a descriptor opened for appending. WatchedFileHandler
    opens it anew after logrotate has moved it away.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # the relay says in one line what pika does in ten
    logging.getLogger("alembic").setLevel(logging.WARNING)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_dir:
        try:
            handlers.append(WatchedFileHandler(log_dir / "payment.log", encoding="utf-8"))
        except OSError as error:
            raise SettingsError(
                f"PAYMENT_LOG_DIR is '{log_dir}': write a directory that the service may write to ({error.strerror})"
            ) from error
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(message)s"))
    attempts.log.propagate = False
    attempts.log.handlers = handlers
