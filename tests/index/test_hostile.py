"""Servers that lie, hang and never end, disks that are full, and publishers at the same moment."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dataflare import ConfigError, Failed
from dataflare_index import client as reading
from dataflare_index import publishing, signing
from dataflare_index.checking import mirror, root_of, verify
from dataflare_index.client import Client
from dataflare_index.publishing import add, init
from dataflare_index.searching import newest_of
from dataflare_index.signing import newest
from dataflare_index.trusted import Trusted

from .lying import Liar, Lie, broken, endless, head, short, swapped
from .wheels import wheel

NAME = "dataflare_geohash-1.0.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = tmp_path / "index"
    init(place, "test")
    add(place, [wheel(tmp_path / "built", "geohash")])
    return place


@pytest.fixture
def liar(index: Path) -> Iterator[Liar]:
    made = Liar(index)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("word", "lie", "codes"),
    [
        (NAME, short, {"index.unreachable"}),
        (NAME, swapped, {"index.not_trusted"}),
        (NAME, endless, {"index.not_trusted"}),
        ("geohash.json", short, {"index.unreachable"}),
        ("geohash.json", broken, {"index.not_trusted"}),
        ("timestamp.json", endless, {"index.not_trusted"}),
        ("timestamp.json", broken, {"index.not_trusted"}),
        ("snapshot.json", endless, {"index.not_trusted"}),
        ("bin-", broken, {"index.not_trusted"}),
        ("2.root.json", broken, {"index.not_trusted"}),
    ],
)
def test_lies_are_refused_and_nothing_is_left_of_them(
    liar: Liar, index: Path, tmp_path: Path, word: str, lie: Lie, codes: set[str]
) -> None:
    if word == "2.root.json":
        shutil.copy(index / "metadata" / "1.root.json", index / "metadata" / "2.root.json")
    liar.word, liar.lie = word, lie

    def install() -> None:
        one = Client(liar.address, root_of(index), tmp_path / "cache")
        one.plugin("geohash")
        one.file(f"files/geohash/{NAME}", tmp_path / NAME)

    with pytest.raises(Failed) as caught:
        install()
    assert {problem.code for problem in caught.value.problems} <= codes
    assert not (tmp_path / NAME).exists()
    liar.word = "\0"
    (index / "metadata" / "2.root.json").unlink(missing_ok=True)
    again = Client(liar.address, root_of(index), tmp_path / "cache")
    assert again.file(f"files/geohash/{NAME}", tmp_path / NAME).exists()


def test_an_index_that_hangs_is_given_up(
    liar: Liar, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SECONDS", 0.2)

    def hang(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        head(to, len(content))
        liar.stop.wait(30)

    liar.word, liar.lie = "timestamp", hang
    with pytest.raises(Failed) as caught:
        Client(liar.address, root_of(index), tmp_path / "cache").names()
    assert caught.value.code == "index.unreachable"


def test_a_mirror_that_was_cut_off_goes_on(liar: Liar, index: Path, tmp_path: Path) -> None:
    add(index, [wheel(tmp_path / "built", name) for name in ("alpha", "bravo", "charlie")])
    liar.word, liar.lie = "bravo-1.0.0-py3-none-any.whl", short
    with pytest.raises(Failed):
        mirror(liar.address, tmp_path / "copy", root_of(index))
    liar.word = "\0"
    told = mirror(liar.address, tmp_path / "copy", root_of(index))
    assert 0 < told["copied"] < told["files"]
    assert verify(tmp_path / "copy", root_of(index)) == []


def test_a_catalogue_of_nonsense_that_is_signed_is_said_to_be_nonsense(index: Path, tmp_path: Path) -> None:
    for nonsense in (b"{", b"[]", b'{"releases": 3}', b'{"releases": {"1": 2}}', b"\xff"):
        (index / "catalogue" / "geohash.json").write_bytes(nonsense)
        (index / "catalogue" / f"{hashlib.sha256(nonsense).hexdigest()}.geohash.json").write_bytes(nonsense)
        signing.publish(index, ["catalogue/geohash.json"])
        with pytest.raises(ConfigError) as caught:
            Trusted("t", str(index), root_of(index), tmp_path / "kept").plugin("geohash")
        assert caught.value.code == "index.catalogue"


def test_five_hundred_versions(index: Path, tmp_path: Path) -> None:
    add(index, [wheel(tmp_path / "many", "geohash", f"2.{number}.0") for number in range(500)])
    told = Client(str(index), root_of(index), tmp_path / "cache").search()["geohash"]
    assert told["version"] == "2.499.0"
    assert newest_of(publishing.signed_listing(index, "geohash")) == "2.499.0"


def test_publishers_at_the_same_moment_wait_for_each_other(index: Path, tmp_path: Path) -> None:
    names = ["alpha", "bravo", "charlie", "delta"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: add(index, [wheel(tmp_path / name, name)]), names))
    assert Client(str(index), root_of(index), tmp_path / "cache").names() == [*names, "geohash"]
    assert verify(index) == []


def test_a_full_disk_leaves_the_index_as_it_was(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = wheel(tmp_path / "built", "fresh")
    before = newest(index, "snapshot").signed.version

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            add(index, [new])
    assert not [file for file in index.rglob(".*") if file.is_file()]
    assert Client(str(index), root_of(index), tmp_path / "cache").names() == ["geohash"]
    assert newest(index, "snapshot").signed.version == before
    add(index, [new])
    assert verify(index) == []
    assert json.loads((index / "search.json").read_bytes())["plugins"][0]["name"] == "fresh"
