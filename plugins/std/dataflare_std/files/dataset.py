"""A folder with manifests: what ``_manifest/`` says of an epoch appears when all its files are there.

A reader who takes only what manifests list sees whole epochs, whatever the number of lanes, partitions and files. The
lists of the lanes are staged like rows (a token has no room for them); the manifest is made of them at the commit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dataflare.context import Context
from dataflare.errors import Failed
from dataflare.spool import digest_of
from dataflare_std.files.folder import TARGET, Folder
from dataflare_std.files.staging import sync_folder, write_failed
from dataflare_std.files.targets import Settings, Token, publish, safe, staged_missing, staged_name

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.split import Resume

MANIFESTS = "_manifest"
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
MOST_PARTITIONS = 1000
LISTS = 999_999
"""Numbers staged lists apart from staged rows."""


class Dataset(Folder):
    """Publishes files, then a manifest for the epoch; ``partition_by`` sorts rows into subfolders ``column=value``."""

    def __init__(self, settings: Settings, partition_by: tuple[str, ...] = ()) -> None:
        super().__init__(settings)
        self._by = partition_by
        self._values: dict[str, dict[str, Any]] = {}
        self._columns: dict[str, str] = {}

    def begin(self) -> None:
        """Forget staged files of an epoch that was not prepared."""
        super().begin()
        self._values, self._columns = {}, {}

    def prepare(self, epoch: int, last: bool, ctx: Context) -> Token:
        """Make the staged files durable, and beside them what the manifest will say of them."""
        values, columns = self._values, self._columns
        token = super().prepare(epoch, last, ctx)
        files = token.pop("files")
        self._values, self._columns = {}, {}
        manifest = f"{ctx.incarnation[:8]}-{safe(f'{ctx.flow}-{ctx.step}')}-{epoch:010d}.json"
        token |= {"files": [], "list": None, "manifest": manifest}
        if files:
            listed = [
                {
                    "path": final,
                    "staged": staged,
                    "rows": rows,
                    "bytes": (self.path / staged).stat().st_size,
                    "digest": f"blake2b-128:{digest_of(self.path / staged)}",
                    **({"partition": values[os.path.dirname(final)]} if self._by else {}),
                }
                for staged, final, rows in files
            ]
            head = {"flow": ctx.flow, "step": ctx.step, "incarnation": ctx.incarnation, "epoch": epoch}
            token["list"] = staged_name(TARGET, ctx, epoch, LISTS)
            _write(self.path / token["list"], {**head, "columns": columns, "files": listed})
        return token

    def commit(self, token: Token) -> None:
        """Give the staged files their names; readers of manifests do not know them yet."""
        self._check()
        if self._manifest(token).exists():
            return
        super().commit({**token, "files": [[item["staged"], item["path"]] for item in self._listed(token)]})

    def committed(self, tokens: list[Token]) -> None:
        """Publish the manifest of the epoch, when the files of all lanes are there."""
        given = [token for token in tokens if token["list"]]
        if not given:
            return
        manifest = self._manifest(given[0])
        try:
            if not manifest.exists():
                self._publish_manifest(manifest, given)
            for path in (self._aside(given), *(self.path / token["list"] for token in given)):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise write_failed(error, manifest) from error

    def abort(self, tokens: list[Token]) -> None:
        """Throw away what is staged."""
        for token in [token for token in tokens if token["list"] and (self.path / token["list"]).exists()]:
            for item in self._listed(token):
                (self.path / item["staged"]).unlink(missing_ok=True)
            (self.path / token["list"]).unlink(missing_ok=True)
        super().abort([])

    def manifests(self) -> Iterator[dict[str, Any]]:
        """What is published, epoch by epoch."""
        folder = self.path / MANIFESTS
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            yield json.loads(path.read_text("utf-8"))

    def _live(self, resume: Resume) -> set[str]:
        live: set[str] = set()
        for token in resume.tokens.values():
            if token.get("list") and (self.path / token["list"]).exists():
                live |= {token["list"], *(item["staged"] for item in self._listed(token))}
        return live

    def _parts(self, rows: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        self._columns |= {field.name: str(field.type) for field in rows.schema}
        if not self._by:
            yield "", rows
            return
        kept = [name for name in rows.schema.names if name not in self._by]
        for values, places in _by_value(rows.select(list(self._by))):
            folder = "/".join(f"{quote(name)}={_folder(values[name])}" for name in self._by)
            self._values[folder] = values
            if len(self._values) > MOST_PARTITIONS:
                raise Failed.of(
                    "files.many_partitions",
                    f"an epoch of `{self.path}` has more than {MOST_PARTITIONS} partitions",
                    fix="partition by a column with fewer values, or take shorter epochs (`checkpoint: {rows: …}`)",
                )
            yield folder, rows.select(kept).take(places)

    def _published(self) -> list[Path]:
        found = [path for path in self.path.rglob("*") if path.is_file()]
        return [path for path in found if not path.name.startswith(".")]

    def _manifest(self, token: Token) -> Path:
        return self.path / MANIFESTS / str(token["manifest"])

    def _listed(self, token: Token) -> list[dict[str, Any]]:
        if not token["list"]:
            return []
        try:
            text = (self.path / token["list"]).read_text("utf-8")
        except FileNotFoundError as error:
            raise staged_missing(self.path, token["list"]) from error
        return list(json.loads(text)["files"])

    def _aside(self, tokens: list[Token]) -> Path:
        """Where the manifest is written before it gets its name."""
        return self.path / str(tokens[0]["list"]).replace(f"-{LISTS}.", f"-{LISTS + 1}.")

    def _publish_manifest(self, manifest: Path, tokens: list[Token]) -> None:
        lists = [json.loads((self.path / token["list"]).read_text("utf-8")) for token in tokens]
        files = [{name: item[name] for name in item if name != "staged"} for each in lists for item in each["files"]]
        columns = {name: kind for each in lists for name, kind in each["columns"].items()}
        whole = {
            "format": 1,
            **{name: lists[0][name] for name in ("flow", "step", "incarnation", "epoch")},
            "rows": sum(item["rows"] for item in files),
            "bytes": sum(item["bytes"] for item in files),
            "columns": columns,
            "files": files,
        }
        manifest.parent.mkdir(exist_ok=True)
        aside = self._aside(tokens)
        aside.unlink(missing_ok=True)
        _write(aside, whole)
        publish(aside, manifest)
        sync_folder(self.path)


def restored(rows: pa.RecordBatch, columns: dict[str, str], partition: dict[str, Any]) -> pa.RecordBatch:
    """The rows of a file with the columns that its folder's name stands for, in the order of the manifest."""
    import pyarrow as pa

    arrays = {name: rows.column(name) for name in rows.schema.names}
    for name, value in partition.items():
        kind = pa.type_for_alias(columns[name])
        arrays[name] = pa.array([value] * rows.num_rows, pa.string()).cast(kind)
    names = [name for name in columns if name in arrays]
    return pa.RecordBatch.from_arrays([arrays[name] for name in names], names=names)


def _by_value(keys: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], pa.Array]]:
    """The distinct rows of the keys as text, and the places of each."""
    import polars as pl
    import pyarrow as pa

    texts = pa.RecordBatch.from_arrays([column.cast(pa.string()) for column in keys.columns], names=keys.schema.names)
    numbered = pl.DataFrame(texts).with_row_index("\0")
    for values, part in numbered.group_by(keys.schema.names, maintain_order=True):
        yield dict(zip(keys.schema.names, values, strict=True)), pa.array(part["\0"].to_list(), pa.int64())


def _folder(value: str | None) -> str:
    return NO_VALUE if value is None else quote(value, safe="")


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON and make it durable."""
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise write_failed(error, path) from error
