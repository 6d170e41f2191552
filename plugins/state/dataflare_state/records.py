"""Numbered record files: a head and parts, each with its digest, named by one atomic operation.

A file is a line with the digest of the head, the head as a line of JSON, and the parts one after the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflare import crash
from dataflare_state.durable import make_folder, sync_folder, write_file

MAGIC = b"dataflare-state 1 "
ASIDE = ".aside-"


class Damaged(Exception):
    """A record whose content does not match its digest."""


@dataclass(frozen=True)
class Head:
    """What a record says of itself: its kind, its fields, and where its parts are."""

    kind: str
    given: Mapping[str, Any]
    parts: Mapping[str, tuple[int, int, str]]
    size: int


def encode(kind: str, given: Mapping[str, Any], parts: Mapping[str, bytes]) -> list[bytes]:
    """The bytes of a record, in pieces."""
    places, at = {}, 0
    for name, content in parts.items():
        places[name] = (at, len(content), hashlib.sha256(content).hexdigest())
        at += len(content)
    head = json.dumps({"kind": kind, "given": given, "parts": places}, separators=(",", ":")).encode()
    first = MAGIC + hashlib.sha256(head).hexdigest().encode() + b"\n" + head + b"\n"
    return [first, *parts.values()]


def read_head(path: Path) -> Head:
    """The head of a record. Raises Damaged, OSError."""
    with path.open("rb") as file:
        first = file.readline(len(MAGIC) + 65)
        line = file.readline()
        size = file.tell()
    told, head = first[len(MAGIC) : -1].decode("ascii", "replace"), line[:-1]
    if not first.startswith(MAGIC) or not line.endswith(b"\n") or told != _sha(head):
        raise Damaged(path.name)
    value = json.loads(head)
    return Head(value["kind"], value["given"], {name: tuple(at) for name, at in value["parts"].items()}, size)


def read_part(path: Path, name: str) -> bytes:
    """One part of a record. Raises Damaged, OSError; KeyError if the record has no such part."""
    head = read_head(path)
    offset, length, digest = head.parts[name]
    with path.open("rb") as file:
        file.seek(head.size + offset)
        content = file.read(length)
    if _sha(content) != digest:
        raise Damaged(path.name)
    return content


def publish(folder: Path, name: str, content: list[bytes], *, durable: bool = True, kind: str = "file") -> bool:
    """Make a file appear under ``name``, whole and durable; False if that name is taken.

    ``link`` is the one atomic step: before it nobody sees the file, after it nobody can make another of that name.
    The crash point between is named ``store-`` and the kind.
    """
    while True:
        aside = folder / f"{ASIDE}{uuid.uuid4().hex}"
        try:
            write_file(aside, *content, durable=durable)
            crash.point(f"store-{kind}")
            os.link(aside, folder / name)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # An owner that tidies up may take a file aside for a dead one's; without the folder it is an error.
            if not folder.is_dir():
                raise
            continue
        finally:
            aside.unlink(missing_ok=True)
        if durable:
            sync_folder(folder)
        return True


def found(folder: Path, name: str, content: list[bytes]) -> bool:
    """Make a folder that holds one file from the first moment on; False if there is one already."""
    make_folder(folder.parent)
    aside = folder.parent / f"{ASIDE}{uuid.uuid4().hex}"
    try:
        aside.mkdir()
        write_file(aside / name, *content)
        sync_folder(aside)
        aside.rename(folder)
    except OSError:
        if not any(folder.glob("*")):
            raise
        return False
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(folder.parent)
    return True


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
