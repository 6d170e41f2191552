"""Lists, structures and maps as JSON text, one value a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflare_std.files.text_out import json_lines

if TYPE_CHECKING:
    import pyarrow as pa


def json_text(column: pa.Array) -> pa.StringArray:
    """The values of a nested column as the files' sink writes them; null stays null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lines = json_lines(pa.RecordBatch.from_arrays([column], names=["v"])).decode().split("\n")[: len(column)]
    text = pa.array([line[5:-1] for line in lines], pa.string())
    return pc.if_else(pc.is_valid(column), text, None)
