"""Tools that lie."""

import time

from dataflare import tool


@tool
def wrong_sum(a: int, b: int = 1) -> int:
    """Says that it adds."""
    return a - b


@tool
def clock(zone: str = "UTC") -> dict:
    """Answers differently each time."""
    return {"at": time.perf_counter_ns()}
