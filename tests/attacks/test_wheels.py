"""No way into a project or an index takes a wheel that is made to do harm; the refusal names the attack."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.served import TOKEN, taking
from index.wheels import wheel
from packages.projects import wheel as project_wheel
from wheel_files import pack, sealed

from dataflare import DataflareError
from dataflare_author.wheel_check import read_wheel
from dataflare_host.app import Host
from dataflare_index import authors
from dataflare_index.publishers import Submission
from dataflare_index.submitting import SENT, submission
from dataflare_packages.installing import install
from dataflare_packages.lockfile import Lock, Locked, LockedFile

from .archives import HOSTILE
from .conftest import Run

Told = tuple[int, str, str | None]
"""Exit code, code of the problem, attack."""


@pytest.fixture
def refused(run: Run) -> Callable[..., Told]:
    def call(*words: object) -> Told:
        code, told = run(*words)
        problem = told["errors"][0]
        return code, problem["code"], problem.get("details", {}).get("attack")

    return call


@pytest.fixture
def served(index: Path, tmp_path: Path) -> Iterator[str]:
    """The address of an index that takes uploads, with all loaders that are installed."""
    with Host.start() as host, taking(index, tmp_path, host=host) as address:
        yield address


def send(to: str, sent: bytes, *wheels: Path) -> Told:
    """What a client sends that checks nothing before."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(SENT, sent)
        for each in wheels:
            archive.write(each, each.name)
    return post(to, packed.getvalue())


def post(to: str, content: bytes) -> Told:
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.post(f"{to}/publish", content=content, headers=allowed, trust_env=False, timeout=60)
    told = answer.json()
    if answer.status_code == 200:
        return 0, "", None
    problem = told["problems"][0]
    return told["exit_code"], problem["code"], problem.get("details", {}).get("attack")


def made(tmp_path: Path, kind: str) -> tuple[Path, str]:
    attack, change = HOSTILE[kind]
    path = wheel(tmp_path / "built", "geohash", runtime="declarative")
    change(path)
    return path, attack


def nothing_came_of_it(*folders: Path) -> bool:
    found = [file for folder in folders for file in folder.rglob("*") if "evil" in file.name.lower()]
    return not found and not any((folder / "catalogue" / "geohash.json").exists() for folder in folders)


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_by_all_who_take_wheels(
    kind: str, refused: Callable[..., Told], index: Path, project: Path, tmp_path: Path
) -> None:
    path, attack = made(tmp_path, kind)
    told = (4, "author.hostile_wheel", attack)
    assert refused("plugin", "add", path, "--project", project, "--grant") == told
    assert refused("index", "add", index, path) == told
    authors.new("Ada")
    assert refused("plugin", "publish", path, "--to", index) == told
    assert refused("plugin", "verify", path) == told
    assert nothing_came_of_it(index, project, tmp_path / "built")


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_where_it_was_locked(kind: str, project: Path, tmp_path: Path) -> None:
    path, attack = made(tmp_path, kind)
    file = LockedFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    lock = Lock({"geohash": ""}, plugins={"geohash": Locked("1.0.0", index="main", files=(file,))})
    with Host.start() as host, pytest.raises(DataflareError) as caught:
        install(lock, project, host, lambda *_: path)
    problem = caught.value.problems[0]
    assert (caught.value.exit_code, problem.details.get("attack")) == (4, attack)
    assert nothing_came_of_it(project)


def test_it_is_refused_by_a_served_index(served: str, index: Path, tmp_path: Path) -> None:
    sound = wheel(tmp_path / "sound", "geohash", runtime="declarative")
    sent = submission([read_wheel(sound)], authors.new("Ada")).content()
    for kind in HOSTILE:
        shutil.rmtree(tmp_path / "built", ignore_errors=True)
        path, attack = made(tmp_path, kind)
        assert send(served, sent, path) == (4, "author.hostile_wheel", attack), kind
    assert nothing_came_of_it(index)
    assert send(served, sent, sound) == (0, "", None)


def test_an_upload_is_no_better_than_what_is_in_it(served: str, index: Path, tmp_path: Path) -> None:
    sound = wheel(tmp_path / "sound", "geohash", runtime="declarative")
    sent = submission([read_wheel(sound)], authors.new("Ada")).content()
    for kind in ("a bomb", "overlapping files", "a link", "a hidden file", "two archives"):
        attack, change = HOSTILE[kind]
        upload = tmp_path / "upload.zip"
        pack(upload, {SENT: sent, sound.name: sound.read_bytes()})
        change(upload)
        assert post(served, upload.read_bytes()) == (4, "publish.submission", attack), kind
    upload = pack(tmp_path / "upload.zip", {SENT: sent, "../evil.whl": sound.read_bytes()})
    assert post(served, upload.read_bytes()) == (4, "publish.submission", "path_traversal")
    assert nothing_came_of_it(index)


def other_manifest(path: Path) -> Path:
    return project_wheel(path.parent, "geohash", change=lambda files: _swap(files, b'version = "1.0.0"'))


def _swap(files: dict[str, bytes], text: bytes) -> None:
    name = "dataflare_geohash/dataflare.toml"
    files.update(sealed({**files, name: files[name].replace(text, b'version = "2.0.0"')}))


def secret(path: Path) -> Path:
    return wheel(path.parent, "geohash", content=b"AKIA" + b"IOSFODNN7ABCDEFG", runtime="declarative")


def nonsense(path: Path) -> Path:
    return wheel(path.parent, "geohash", content=b"no module", runtime="wasm")


def past_the_index(path: Path) -> Path:
    return wheel(path.parent, "geohash", runtime="python", needs="more @ https://elsewhere.example/more.whl")


def other_name(path: Path) -> Path:
    found = wheel(path.parent, "geohash", runtime="declarative")
    return found.rename(found.with_name(found.name.replace("1.0.0", "9.0.0")))


UNSOUND = {
    "plugin.id_conflict": other_manifest,
    "publish.secret": secret,
    "plugin.wasm_invalid": nonsense,
    "index.needs": past_the_index,
    "author.wheel": other_name,
}


@pytest.mark.parametrize("code", UNSOUND)
def test_a_served_index_believes_no_client(code: str, served: str, index: Path, tmp_path: Path) -> None:
    path = UNSOUND[code](tmp_path / "built" / "x.whl")
    ada = authors.new("Ada")
    signed = wheel(tmp_path / "signed", "geohash", runtime="declarative")
    sent = submission([read_wheel(path if code != "author.wheel" else signed)], ada).content()
    assert send(served, sent, path) == (2, code, None)
    assert nothing_came_of_it(index)
    if code == "publish.secret":
        told = Submission.read(sent)
        words = {**vars(told), "seen": ("dataflare_geohash/plugin.wasm",)}
        assert send(served, Submission(**words).content(), path) == (0, "", None)


@pytest.mark.parametrize("code", [code for code in UNSOUND if code != "plugin.wasm_invalid"])
def test_neither_does_who_keeps_the_index_take_it(
    code: str, refused: Callable[..., Told], index: Path, tmp_path: Path
) -> None:
    path = UNSOUND[code](tmp_path / "built" / "x.whl")
    assert refused("index", "add", index, path) == (2, code, None)
    assert nothing_came_of_it(index)


SAID: list[dict[str, Any]] = [
    {"identity": "Ada\x1b[2J"},
    {"identity": "x" * 300},
    {"identity": ["Ada"]},
    {"public": "zz"},
    {"envelopes": [1]},
    {"reports": {"geohash": {"plugin": "geohash", "version": "9", "ok": True, "cases": 3, "left_out": []}}},
    {"reports": {"geohash": {"plugin": "geohash", "version": "1.0.0", "ok": False, "cases": 3, "left_out": []}}},
    {"reports": {"geohash": {"plugin": "geohash", "version": "1.0.0", "ok": True, "cases": "many", "left_out": []}}},
    {"reports": {"geohash": ["ok"]}},
    {"successions": 3},
    {"seen": 3},
]


@pytest.mark.parametrize("said", SAID, ids=map(str, range(len(SAID))))
def test_what_a_client_says_of_itself_is_looked_at(
    said: dict[str, Any], served: str, index: Path, tmp_path: Path
) -> None:
    sound = wheel(tmp_path / "sound", "geohash", runtime="declarative")
    sent = json.loads(submission([read_wheel(sound)], authors.new("Ada")).content())
    code, problem, _ = send(served, json.dumps({**sent, **said}).encode(), sound)
    assert (code, problem) in ((2, "publish.submission"), (2, "publish.report"))
    assert nothing_came_of_it(index)


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    for kind in ("a bomb", "a bomb that lies"):
        shutil.rmtree(tmp_path / "built", ignore_errors=True)
        path, _ = made(tmp_path, kind)
        tracemalloc.start()
        with pytest.raises(DataflareError):
            read_wheel(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 << 20, kind


@settings(max_examples=150)
@given(st.data())
def test_a_wheel_with_changed_bytes_is_the_same_or_refused(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = wheel(Path(folder), "geohash", content=b"abc" * 50, runtime="declarative")
        raw, files = bytearray(path.read_bytes()), read_wheel(path).files
        for _ in range(data.draw(st.integers(1, 3))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(raw)
        try:
            found = read_wheel(path)
        except DataflareError:
            return
        assert found.files == files
