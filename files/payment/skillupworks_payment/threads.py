"""Threads that leave the signals of the process to the server that runs it."""

import signal
import threading
from collections.abc import Callable
from typing import Any


def start(name: str, target: Callable[..., None], *args: Any) -> threading.Thread:
    """Start a thread that ends with the process and gets no signal.

    A stop is a signal to the process, and any thread that does not block it may get it: the default action, or uWSGI's
    handler in a thread that uWSGI does not know, would end the requests in flight.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread
