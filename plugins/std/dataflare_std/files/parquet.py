"""Parquet: splits of row groups, read in batches; a position is a row group and the rows done in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import Failed
from dataflare.split import Split
from dataflare_std.files.listing import Listed, changed, open_file

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as arrow_parquet

FOOTER = 4096


def footer_print(path: Path, name: str) -> dict[str, Any]:
    """What a Parquet file is recognised by: its size and the hash of its last bytes, where its directory stands."""
    file = open_file(path, name)
    try:
        size = os.fstat(file).st_size
        return {"size": size, "hash": hashlib.blake2b(_tail(file, size), digest_size=8).hexdigest()}
    finally:
        os.close(file)


def _tail(file: int, size: int) -> bytes:
    return os.pread(file, FOOTER, max(0, size - FOOTER))


def opened(path: Path, name: str) -> arrow_parquet.ParquetFile:
    """The file, its directory read. Raises Failed (``files.bad_parquet``)."""
    import pyarrow as pa
    import pyarrow.parquet as arrow_parquet

    try:
        return arrow_parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise Failed.of(
            "files.bad_parquet",
            f"`{name}` is not a whole Parquet file",
            cause=str(error).partition("\n")[0],
            fix="write it again, or leave it out of `path`",
            details={"file": name},
        ) from error


def splits_of(listed: Listed, size: int, whole: bool) -> list[Split]:
    """Runs of row groups of about ``size`` bytes each; ``whole``: one run."""
    seen = footer_print(listed.path, listed.name)
    with opened(listed.path, listed.name) as file:
        sizes = [file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups)]
    runs = [(0, len(sizes))] if whole else list(_runs(sizes, size))
    return [
        Split(
            f"{listed.name}#groups={first}-{end}",
            {"file": listed.name, "groups": [first, end]},
            {"group": first, "row": 0, "fp": seen},
            size=sum(sizes[first:end]),
        )
        for first, end in runs
        if end > first
    ]


def _runs(sizes: Sequence[int], wanted: int) -> Iterator[tuple[int, int]]:
    first, held = 0, 0
    for group, size in enumerate(sizes):
        held += size
        if held >= wanted:
            yield first, group + 1
            first, held = group + 1, 0
    if first < len(sizes):
        yield first, len(sizes)


def read(
    path: Path, name: str, end: int, position: dict[str, Any], columns: list[str], rows: int
) -> Iterator[tuple[pa.RecordBatch, dict[str, Any]]]:
    """Batches from a position on to the row group ``end``, with the position behind each.

    Raises Failed: ``source.split_changed``, ``files.bad_parquet``.
    """
    import pyarrow as pa

    seen = position["fp"]
    if footer_print(path, name) != seen:
        raise changed(name, "its size or its directory is not what it was: it was replaced or rewritten")
    with opened(path, name) as file:
        skip = position["row"]
        for group in range(position["group"], end):
            done = 0
            try:
                for batch in file.iter_batches(rows, [group], columns=columns, use_threads=False):
                    done += batch.num_rows
                    if done <= skip:
                        continue
                    part = batch.slice(max(0, batch.num_rows - (done - skip)))
                    last = done >= file.metadata.row_group(group).num_rows
                    at = {"group": group + 1, "row": 0} if last else {"group": group, "row": done}
                    yield part, {**at, "fp": seen}
            except (pa.ArrowException, OSError) as error:
                raise Failed.of(
                    "files.bad_parquet",
                    f"row group {group} of `{name}` cannot be read",
                    cause=str(error).partition("\n")[0],
                    fix="write the file again",
                    details={"file": name},
                ) from error
            skip = 0
