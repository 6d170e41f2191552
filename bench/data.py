"""The benchmarks' input, made once with a fixed seed under ``bench/data``."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / "data"

_READINGS = """
select
    i as id,
    strftime(timestamp '2026-01-01' + to_milliseconds(i * 250), '%Y-%m-%dT%H:%M:%S.%gZ') as ts,
    'device-' || lpad((hash(i) % 5000)::varchar, 5, '0') as device,
    round((hash(i + 1000000007) % 1000000) / 1000000.0 * 50 - 10.0 + 0.0001 * (i % 7), 3) as temperature,
    round((hash(i + 2000000011) % 1000000) / 10000.0, 2) as humidity,
    (['ok', 'ok', 'ok', 'warn', 'fault'])[1 + (hash(i + 3000000019) % 5)::int] as status,
    ['line-' || (i % 16), 'shift-' || (i % 3)] as tags,
    {'name': 'site-' || (hash(i) % 40), 'line': (i % 16)::int} as site
from range(rows) t(i)
"""


def readings(rows: int = 1_000_000) -> Path:
    """W1: readings of devices as JSON lines; a million are about 190 MB."""
    path = DATA / f"readings-{rows}.jsonl"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        _make(_READINGS.replace("rows", str(rows)), path, "format json")
    return path


def columns(rows: int = 20_000_000) -> Path:
    """W2: id, device, temperature and humidity as Parquet."""
    path = DATA / f"columns-{rows}.parquet"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        query = f"select id, device, temperature, humidity from ({_READINGS.replace('rows', str(rows))})"
        _make(query, path, "format parquet, row_group_size 122880")
    return path


def minutes(rows: int, devices: int) -> Path:
    """Readings of devices as Parquet, a hundred a second, in the order of time."""
    path = DATA / f"minutes-{rows}-{devices}.parquet"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        query = f"""
            select timestamptz '2026-01-01 00:00:00+00' + to_milliseconds(i * 10) as ts,
                'device-' || lpad((hash(i) % {devices})::varchar, 5, '0') as device,
                (hash(i + 1000000007) % 1000)::bigint as pieces,
                round((hash(i + 2000000011) % 1000000) / 1000000.0 * 50 - 10.0, 3) as temperature
            from range({rows}) t(i)
        """
        _make(query, path, "format parquet, row_group_size 122880")
    return path


def _make(query: str, path: Path, how: str) -> None:
    import duckdb

    part = path.with_suffix(".part")
    with duckdb.connect() as connection:
        connection.execute("set threads = 2; set preserve_insertion_order = true")
        connection.execute(f"copy ({query}) to '{part}' ({how})")
    part.rename(path)
