"""Tables of a DuckDB file as a target."""

from dataflare_duckdb.table import Table

__all__ = ["Table"]
