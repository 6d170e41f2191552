"""What a service's answer to a request means: taken, later, or refused."""

from __future__ import annotations

import time
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from dataflare import Failed, Retry

if TYPE_CHECKING:
    import httpx

SHOWN = 300


def accept(answer: httpx.Response, place: str, later: Collection[int]) -> None:
    """Return if the service has the request. Raises Retry for ``later`` and 5xx, else Failed (``http.*``)."""
    status = answer.status_code
    if answer.is_success:
        return
    told = " ".join(answer.text[:SHOWN].split())
    if status in later or status >= 500:
        raise Retry(_after(answer.headers.get("Retry-After")), f"{place} answered {status}: {told}")
    if answer.is_redirect:
        raise Failed.of(
            "http.moved",
            f"{place} answered {status}: it is somewhere else",
            cause=f"Location: {answer.headers.get('Location', '')}",
            fix="write the new address into `url`",
        )
    if status in (401, 403, 407):
        raise Failed.of(
            "http.not_allowed", f"{place} answered {status}", cause=told or None, fix="correct the secrets in `headers`"
        )
    raise Failed.of(
        "http.refused",
        f"{place} refused a request: {status}",
        cause=told or None,
        fix="mend the service and run again, or refuse such rows before the sink; `request_rows: 1` shows which it is",
    )


def _after(given: str | None) -> float | None:
    """The seconds that ``Retry-After`` asks to wait: a number, or a date."""
    if given is None:
        return None
    if given.strip().isdigit():
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None
