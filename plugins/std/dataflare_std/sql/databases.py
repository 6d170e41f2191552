"""Which database an address names."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from dataflare import ConfigError, Context, Problem
from dataflare_std.sql.target import Table, Target

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMES = {
    "sqlite": "dataflare_std.sql.sqlite",
    "postgresql": "dataflare_std.sql.postgres",
    "postgres": "dataflare_std.sql.postgres",
    "duckdb": "dataflare_std.sql.duck",
}


class Database(Protocol):
    """A kind of database: the ``DATABASE`` of its module. Nothing here changes anything but ``connect``."""

    def check(self, uri: str, table: Table, ctx: Context) -> Iterable[Problem]:
        """What is wrong with address and table by themselves, wherever the flow runs."""

    def check_place(self, uri: str, ctx: Context) -> Iterable[Problem]:
        """What would keep a sink from working there now."""

    def holds(self, kind: pa.DataType) -> bool:
        """Whether a table can hold this type."""

    def connect(self, uri: str, table: Table, ctx: Context) -> Target:
        """An open connection. Raises ConfigError, Failed (``sql.*``), Retry."""


def database_of(uri: str) -> Database:
    """The database of an address. Raises ConfigError (``sql.uri``); the address itself may hold a password."""
    scheme = uri.partition("://")[0]
    if scheme not in SCHEMES or "://" not in uri:
        raise unknown_address("it begins with none of `postgresql://`, `sqlite:///`, `duckdb:///`")
    return cast(Database, import_module(SCHEMES[scheme]).DATABASE)


def unknown_address(cause: str) -> ConfigError:
    """An address that cannot be understood."""
    return ConfigError.of(
        "sql.uri",
        "`uri` is not the address of a database that can be written to",
        pointer="/uri",
        cause=cause,
        fix="write `postgresql://user@host/database`, or for a file beside the flow `sqlite:///out/shop.db` or "
        "`duckdb:///out/shop.duckdb` (four slashes: from the root)",
    )
