"""The life of one payment host, which is asked directly."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))

from playing import ask, loaded, play, pytest_configure, settings, source, wheels  # noqa: F401


@pytest.fixture(scope="module")
def url(settings: dict[str, object]) -> str:  # noqa: F811
    return f"http://{settings['ansible_host']}:{settings['payment_port']}"


@pytest.fixture
def release(url: str) -> Callable[[], str]:
    """The id of the release that serves."""
    return lambda: ask(f"{url}/live")["release"]


@pytest.fixture
def under_load(url: str, record_property: Callable[[str, object], None]) -> Callable[[str], AbstractContextManager]:
    return lambda scenario: loaded(record_property, scenario, url)
