"""A flow's state as a folder of files that people and other programs can read: JSON and Arrow, with digests.

``manifest.json`` names the flow and every file with its digest; ``regions/NAME/checkpoint.json`` is the last epoch,
``state/STEP/NAME.arrow`` the live keys of a state (key, value as JSON, expires), ``letters.arrow`` the dead letters.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.checkpoint import Checkpoint, Letter
from dataflare.errors import ConfigError, StateError
from dataflare_state import problems
from dataflare_state.durable import make_folder, sync_folder, write_file
from dataflare_state.names import quoted, unquoted
from dataflare_state.whole import Whole, changed

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Dump:
    """What a folder holds."""

    flow: str
    regions: dict[str, Whole]


def write(folder: Path, dump: Dump) -> dict[str, str]:
    """Write a folder that is not there yet; it appears whole. The digest of each file."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError.of("state.dump_exists", f"{folder} is there already", fix="choose a folder that is not there")
    aside = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    with problems.told(folder):
        try:
            make_folder(aside)
            aside.chmod(0o700)
            digests = {}
            for name, content in _files(dump):
                place = aside / name
                make_folder(place.parent)
                write_file(place, content)
                digests[name] = _digest(content)
            told = {"format": FORMAT, "flow": dump.flow}
            told |= {"tokens": {region: whole.token for region, whole in dump.regions.items()}, "files": digests}
            write_file(aside / MANIFEST, _json({**told, "digest": _digest(_json(told))}))
            for made, _, _ in os.walk(aside):
                sync_folder(Path(made))
            if folder.is_dir():
                folder.rmdir()
            aside.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return digests


def read(folder: Path) -> Dump:
    """What a folder holds, every digest checked. Raises StateError ``state.dump``."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        rest = {key: value for key, value in manifest.items() if key != "digest"}
        if manifest.get("digest") != _digest(_json(rest)):
            raise _damaged(folder, MANIFEST)
    except OSError as error:
        raise _no_dump(folder, error.strerror or str(error)) from error
    except (ValueError, AttributeError) as error:
        raise _no_dump(folder, f"{MANIFEST} is not what an export writes") from error
    if manifest["format"] > FORMAT:
        raise _no_dump(folder, f"it has format {manifest['format']}, this version reads up to {FORMAT}")
    contents = {}
    for name, digest in manifest["files"].items():
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise _damaged(folder, name, error.strerror or str(error)) from error
        if _digest(contents[name]) != digest:
            raise _damaged(folder, name)
    return Dump(manifest["flow"], _regions(manifest["tokens"], contents))


def _files(dump: Dump) -> Iterator[tuple[str, bytes]]:
    for region, whole in dump.regions.items():
        place = f"regions/{quoted(region)}"
        yield f"{place}/checkpoint.json", _json(whole.checkpoint.as_json())
        for step, name in sorted({(change.step, change.name) for change in whole.state}):
            of = [change for change in whole.state if (change.step, change.name) == (step, name)]
            columns = {
                "key": [change.key for change in of],
                "value": [(change.value or b"").decode() for change in of],
                "expires": [change.expires for change in of],
            }
            yield f"{place}/state/{quoted(step)}/{quoted(name)}.arrow", _arrow(columns, _keys_schema())
        if whole.letters:
            rows = [[getattr(letter, column.name) for column in fields(Letter)] for letter in whole.letters]
            named = dict(zip([column.name for column in fields(Letter)], zip(*rows, strict=True), strict=True))
            named["place"] = tuple(json.dumps(place) for place in named["place"])
            yield f"{place}/letters.arrow", _arrow(named, _letters_schema())


def _regions(tokens: Mapping[str, int], contents: Mapping[str, bytes]) -> dict[str, Whole]:
    found = {}
    for region, token in tokens.items():
        place = f"regions/{quoted(region)}/"
        mine = {name.removeprefix(place): data for name, data in contents.items() if name.startswith(place)}
        whole = Whole(Checkpoint.from_json(json.loads(mine["checkpoint.json"])), token)
        for name, data in mine.items():
            if name.startswith("state/"):
                step, state = map(unquoted, name.removeprefix("state/").removesuffix(".arrow").split("/"))
                for row in _rows(data):
                    whole.state.append(changed(step, state, row["key"], row["value"].encode(), row["expires"]))
        for row in _rows(mine["letters.arrow"]) if "letters.arrow" in mine else ():
            whole.letters.append(Letter(**{**row, "place": json.loads(row["place"])}))
        found[region] = whole
    return found


def _keys_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema({"key": pa.binary(), "value": pa.string(), "expires": pa.float64()})


def _letters_schema() -> pa.Schema:
    import pyarrow as pa

    types = {"int": pa.int64(), "bytes": pa.large_binary()}
    return pa.schema({column.name: types.get(str(column.type), pa.string()) for column in fields(Letter)})


def _arrow(columns: Mapping[str, Any], schema: pa.Schema) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.table({name: list(column) for name, column in columns.items()}, schema=schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _rows(content: bytes) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    with pa.ipc.open_file(content) as reader:
        for number in range(reader.num_record_batches):
            yield from reader.get_batch(number).to_pylist()


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _damaged(folder: Path, name: str, cause: str = "it is not what its digest in the manifest says") -> StateError:
    fix = "export again, or bring the folder back from a backup"
    return StateError.of("state.dump", f"{folder / name} is damaged", cause=cause, fix=fix)


def _no_dump(folder: Path, cause: str) -> StateError:
    fix = "name a folder that `dataflare state export` wrote"
    return StateError.of("state.dump", f"{folder} is no exported state", cause=cause, fix=fix)
