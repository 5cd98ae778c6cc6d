"""Where the figures of a run go: the documents in results/, to which several stages of the tests contribute."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


@contextmanager
def document(name: str, empty: Any) -> Iterator[Any]:
    """Yield what results/<name>.json holds, or `empty`, to be changed in place; other processes wait meanwhile."""
    file = RESULTS / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = json.loads(file.read_text()) if file.exists() else empty
        yield content
        file.write_text(json.dumps(content, indent=2) + "\n")
