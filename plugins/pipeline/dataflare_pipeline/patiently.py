"""Calls of a version that is tried beside the running one: they end in time, also where they hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dataflare.component import Component
from dataflare.errors import StateError


@contextmanager
def patiently(component: Component, step: str, seconds: float | None) -> Iterator[None]:
    """What is called here of a guest's component is ended after so many seconds; None: never.

    Raises StateError ``reload.stuck`` then.
    """
    if seconds is None:
        yield
        return
    late = threading.Event()

    def end() -> None:
        late.set()
        component.abandon()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if late.is_set():
            message = f"a call of the new `{step}` did not end within {seconds:g} s"
            raise StateError.of("reload.stuck", message) from error
        raise
    finally:
        timer.cancel()
