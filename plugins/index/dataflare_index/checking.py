"""Checking and copying whole indexes, as a client sees them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError, DataflareError, Problem
from dataflare_index import others, searching, simple
from dataflare_index.catalogue import Listed
from dataflare_index.client import Client, fetched
from dataflare_index.publishing import names_of, write_roots
from dataflare_index.signing import METADATA, put

Json = Any


def root_of(index: Path) -> bytes:
    """The first root of an index, which clients are given to trust. Raises ConfigError ``index.none``."""
    try:
        return (index / METADATA / "1.root.json").read_bytes()
    except OSError as error:
        raise ConfigError.of("index.none", f"{index} holds no index", cause=str(error)) from error


def verify(index: Path, root: bytes | None = None) -> list[Problem]:
    """What is wrong with an index: signatures, digests, files that nothing signs, pages that say something else."""
    problems: list[Problem] = []
    with tempfile.TemporaryDirectory(prefix="dataflare-index-") as folder:
        client = Client(str(index), root or root_of(index), Path(folder))
        try:
            targets = client.targets()
        except DataflareError as error:
            return list(error.problems)
        for path in targets:
            try:
                client.file(path, Path(folder) / "checked")
            except DataflareError as error:
                problems += [problem.at(file=str(index / path)) for problem in error.problems]
    signed = {*targets, *(f"catalogue/{name}.json" for name in names_of(index))}
    for file in sorted([*(index / "files").rglob("*"), *(index / others.FOLDER).glob("*/*")]):
        path = file.relative_to(index).as_posix()
        if file.is_file() and path not in signed:
            problems.append(Problem("index.unsigned", f"nothing signs `{path}`", kind="fatal", file=str(file)))
    return problems + _pages(index)


def mirror(source: str, index: Path, root: bytes | None = None) -> dict[str, Json]:
    """Copy an index into a folder, or bring a copy up to date; every file is checked before it is taken.

    ``root``: what is trusted; else the copy's own root, else the source's (trusted this once).
    """
    trusted = root or (root_of(index) if (index / METADATA / "1.root.json").exists() else _first_root(source))
    client = Client(source, trusted, index / ".mirror")
    copied = 0
    targets = client.targets()
    for path in targets:
        target = index / path
        before = target.stat().st_mtime_ns if target.exists() else None
        client.file(path, target)
        copied += before is None or target.stat().st_mtime_ns != before
    _copy_metadata(client, index)
    for listed in _all(index):
        put(index / "simple" / listed.distribution / "index.html", simple.project_html(listed))
        put(index / "simple" / listed.distribution / "index.json", simple.project_json(listed))
    if (index / searching.FILE).exists():
        raw = (index / searching.FILE).read_bytes()
        put(index / searching.digest_name(raw), raw)
    write_roots(index, names_of(index))
    shutil.rmtree(index / ".mirror", ignore_errors=True)
    return {"index": str(index), "files": len(targets), "copied": copied, "snapshot": client.snapshot()}


def _pages(index: Path) -> list[Problem]:
    problems = []
    for listed in _all(index):
        name, page = listed.name, index / "simple" / listed.distribution
        for file, wanted in ((page / "index.html", simple.project_html), (page / "index.json", simple.project_json)):
            if not file.exists() or file.read_bytes() != wanted(listed):
                message = f"the page of `{name}` says something else than the catalogue"
                problems.append(Problem("index.page", message, kind="fatal", file=str(file)))
    return problems


def _all(index: Path) -> Iterator[Listed]:
    yield from (Listed.read(index, name) for name in names_of(index))
    yield from others.read_all(index)


def _first_root(source: str) -> bytes:
    if "://" not in source:
        return root_of(Path(source))
    return fetched(source, f"{METADATA}/1.root.json")


def _copy_metadata(client: Client, index: Path) -> None:
    """The metadata that the copy is made by, its timestamp last: until then the copy is what it was."""
    for name in client.metadata_names():
        put(index / METADATA / name, client.raw(f"{METADATA}/{name}"))
    for one in _all(index):
        content = (index / one.folder / f"{one.name}.json").read_bytes()
        put(index / one.folder / f"{hashlib.sha256(content).hexdigest()}.{one.name}.json", content)
    put(index / "index.json", client.raw("index.json"))
