"""Names of flows, regions and states as file names."""

from __future__ import annotations

from urllib.parse import quote, unquote


def quoted(name: str) -> str:
    """A name as one safe file name."""
    safe = quote(name, safe="", errors="surrogatepass")
    return safe.replace(".", "%2E") if safe.startswith(".") else safe


def unquoted(name: str) -> str:
    """The name that ``quoted`` made a file name of."""
    return unquote(name, errors="surrogatepass")
