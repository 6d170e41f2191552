"""An index is a folder: pip installs from it, and a client that knows its root takes nothing that was not published."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from wheel_files import pack, sealed, unpacked

from dataflare import ConfigError, Failed
from dataflare_index.catalogue import Listed
from dataflare_index.checking import mirror, root_of, verify
from dataflare_index.client import Client
from dataflare_index.keys import folder_of, make_keys, read_key
from dataflare_index.publishing import add, init, refresh, skeleton, yank
from dataflare_index.signing import METADATA, newest

from .served import serving
from .wheels import wheel


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = tmp_path / "index"
    init(place, "test")
    add(place, [wheel(tmp_path / "built", "geohash"), wheel(tmp_path / "built", "geohash", "1.1.0")])
    add(place, [wheel(tmp_path / "built", "nmea-source")])
    return place


@pytest.fixture
def served(index: Path) -> Iterator[str]:
    with serving(index) as address:
        yield address


def client(index: Path | str, folder: Path, root: bytes | None = None) -> Client:
    return Client(str(index), root if root is not None else root_of(Path(index)), folder / "cache")


def test_pip_installs_from_it(served: str, tmp_path: Path) -> None:
    target = tmp_path / "site"
    for page, wanted in (("dataflare-geohash", "1.1.0"), ("dataflare-nmea-source==1.0.0", "1.0.0")):
        words = [
            "--index-url",
            f"{served}/simple/",
            "--target",
            str(target),
            "--no-cache-dir",
            "-q",
            "--isolated",
            page,
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *words], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        name = page.partition("==")[0].replace("-", "_")
        assert (target / f"{name}-{wanted}.dist-info").exists()


def test_a_yanked_release_is_not_chosen_but_had_by_name(index: Path, served: str, tmp_path: Path) -> None:
    yank(index, "geohash", "1.1.0", "wrong cells at the poles")
    words = [sys.executable, "-m", "pip", "download", "--index-url", f"{served}/simple/", "-d", str(tmp_path / "got")]
    words += ["--no-cache-dir", "-q", "--isolated", "--no-deps"]
    assert subprocess.run([*words, "dataflare-geohash"], capture_output=True, timeout=120).returncode == 0
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["dataflare_geohash-1.0.0-py3-none-any.whl"]
    named = subprocess.run([*words, "dataflare-geohash==1.1.0"], capture_output=True, text=True, timeout=120)
    assert named.returncode == 0
    assert "wrong cells at the poles" in named.stderr
    with pytest.raises(ConfigError, match="no `geohash` 9"):
        yank(index, "geohash", "9", "none")
    assert verify(index) == []


@pytest.mark.parametrize("over", ["folder", "http"])
def test_a_client_reads_what_was_published(index: Path, served: str, tmp_path: Path, over: str) -> None:
    reading = client(index if over == "folder" else served, tmp_path, root_of(index))
    assert reading.names() == ["geohash", "nmea-source"]
    told = reading.plugin("geohash")
    assert list(told["releases"]) == ["1.0.0", "1.1.0"]
    assert told["releases"]["1.1.0"]["runtime"] == "wasm"
    name = "dataflare_geohash-1.1.0-py3-none-any.whl"
    got = reading.file(f"files/geohash/{name}", tmp_path / name)
    assert hashlib.sha256(got.read_bytes()).hexdigest() == told["releases"]["1.1.0"]["files"][name]["sha256"]
    with pytest.raises(ConfigError, match="has no"):
        reading.file("files/geohash/other.whl", tmp_path / "other")


def test_what_is_published_never_changes(index: Path, tmp_path: Path) -> None:
    same = wheel(tmp_path / "again", "geohash")
    shutil.copy(index / "files" / "geohash" / same.name, same)
    before = newest(index, "snapshot").signed.version
    assert add(index, [same])["known"] == [same.name]
    other = wheel(tmp_path / "other", "geohash", content=b"\0asm other")
    with pytest.raises(ConfigError, match="published with other content"):
        add(index, [wheel(tmp_path / "other", "fresh"), other])
    assert Listed.read(index, "fresh").releases == {}
    odd = wheel(tmp_path / "odd", "geohash", tag="py3-none-linux_x86_64")
    _change_manifest(odd)
    with pytest.raises(ConfigError, match="different manifests"):
        add(index, [odd])
    assert verify(index) == []
    assert newest(index, "snapshot").signed.version >= before


def _change_manifest(path: Path) -> None:
    files = unpacked(path)
    name = next(name for name in files if name.endswith("dataflare.toml"))
    files[name] += b"\n"
    pack(path, sealed(files))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("ge0hash", "geohash"),
        ("geo-hash", "geohash"),
        ("nrnea-source", "nmea-source"),
        ("geohahs", "geohash"),
        ("geoohash", "geohash"),
        ("nmea-sources", "nmea-source"),
    ],
)
def test_a_name_that_looks_like_another_is_refused(index: Path, tmp_path: Path, name: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"looks like `{other}`"):
        add(index, [wheel(tmp_path / "new", name)])
    assert skeleton("geohash") != skeleton("geodesic")
    with pytest.raises(ConfigError, match="looks like `fresh`"):
        add(index, [wheel(tmp_path / "new", "fresh"), wheel(tmp_path / "new", "frehs")])
    add(index, [wheel(tmp_path / "new", each) for each in ("abc", "acb", "aab", "ab", "abs")])


# --- attacks ------------------------------------------------------------------------------------------------


def attack(caught: pytest.ExceptionInfo[Failed]) -> str:
    assert caught.value.code == "index.not_trusted"
    return str(caught.value.problems[0].details["attack"])


@pytest.mark.parametrize(
    ("swap", "sign"),
    [
        (lambda content: b"X" + content[1:], "arbitrary_content"),
        (lambda content: content + b"x", "endless_data"),
    ],
)
def test_a_swapped_wheel_is_refused(index: Path, tmp_path: Path, swap: Callable[[bytes], bytes], sign: str) -> None:
    name = "dataflare_geohash-1.1.0-py3-none-any.whl"
    place = index / "files" / "geohash" / name
    place.write_bytes(swap(place.read_bytes()))
    with pytest.raises(Failed) as caught:
        client(index, tmp_path).file(f"files/geohash/{name}", tmp_path / name)
    assert attack(caught) == sign
    assert not (tmp_path / name).exists()
    assert {problem.code for problem in verify(index)} == {"index.not_trusted"}


def test_a_catalogue_that_was_changed_is_refused(index: Path, tmp_path: Path) -> None:
    for file in (index / "catalogue").glob("*.geohash.json"):
        file.write_bytes(file.read_bytes().replace(b'"yanked": null', b'"yanked": "no"'))
    with pytest.raises(Failed) as caught:
        client(index, tmp_path).plugin("geohash")
    assert attack(caught) == "arbitrary_content"


def test_an_index_that_goes_back_is_refused(index: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(index, old)
    add(index, [wheel(tmp_path / "built", "geohash", "1.2.0")])
    assert "1.2.0" in client(index, tmp_path).plugin("geohash")["releases"]
    shutil.rmtree(index / METADATA)
    shutil.copytree(old / METADATA, index / METADATA)
    with pytest.raises(Failed) as caught:
        client(index, tmp_path).plugin("geohash")
    assert attack(caught) == "rollback"


def test_an_index_that_stands_still_is_refused_in_the_end(index: Path, tmp_path: Path) -> None:
    held = newest(index, "timestamp")
    held.signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    held.signed.version += 1
    held.sign(read_key(index, "timestamp"))
    (index / METADATA / "timestamp.json").write_bytes(held.to_bytes())
    with pytest.raises(Failed) as caught:
        client(index, tmp_path).names()
    assert attack(caught) == "freeze"
    refresh(index)
    assert client(index, tmp_path).names() == ["geohash", "nmea-source"]


def test_what_others_signed_is_refused(index: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    make_keys(strange)
    held = newest(index, "timestamp")
    held.signed.version += 1
    held.sign(read_key(strange, "timestamp"))
    (index / METADATA / "timestamp.json").write_bytes(held.to_bytes())
    with pytest.raises(Failed) as caught:
        client(index, tmp_path).names()
    assert attack(caught) == "wrong_key"


def test_parts_of_different_snapshots_do_not_mix(index: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in (index / METADATA).iterdir()}
    add(index, [wheel(tmp_path / "built", "geohash", "1.2.0")])
    snapshot = newest(index, "snapshot").signed
    older = [name for name in before if name.endswith(".snapshot.json")]
    newest_file = index / METADATA / f"{snapshot.version}.snapshot.json"
    newest_file.write_bytes(before[max(older, key=lambda name: int(name.partition(".")[0]))])
    with pytest.raises(Failed) as caught:
        client(index, tmp_path).names()
    assert attack(caught) == "mix_and_match"


def test_endless_data_ends(index: Path, tmp_path: Path) -> None:
    (index / METADATA / "timestamp.json").write_bytes(b" " * (1 << 20))
    with pytest.raises(Failed, match="cannot be trusted"):
        client(index, tmp_path).names()
    (index / METADATA / "timestamp.json").write_bytes(b"{")
    with pytest.raises(Failed, match="cannot be trusted"):
        client(index, tmp_path).names()


def test_files_that_nobody_signed_and_pages_that_lie_are_found(index: Path) -> None:
    (index / "files" / "geohash" / "extra.whl").write_bytes(b"x")
    page = index / "simple" / "dataflare-geohash" / "index.html"
    page.write_bytes(page.read_bytes().replace(b"sha256=", b"sha256=0"))
    assert {problem.code for problem in verify(index)} == {"index.unsigned", "index.page"}


# --- mirrors and keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["folder", "http"])
def test_a_mirror_is_the_index_again_and_is_brought_up_to_date(
    index: Path, served: str, tmp_path: Path, over: str
) -> None:
    copy, source = tmp_path / "copy", str(index) if over == "folder" else served
    first = mirror(source, copy, root_of(index))
    assert first["copied"] == first["files"]
    assert verify(copy, root_of(index)) == []
    add(index, [wheel(tmp_path / "built", "geohash", "1.2.0")])
    again = mirror(source, copy)
    assert 0 < again["copied"] < again["files"]
    assert "1.2.0" in client(copy, tmp_path, root_of(index)).plugin("geohash")["releases"]


def test_keys_are_beside_the_index_and_only_for_their_owner(index: Path) -> None:
    assert folder_of(index).parent == index.parent
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder_of(index).glob("*.pem"))
    assert not list(index.rglob("*.pem"))
    with pytest.raises(ConfigError, match="not empty"):
        init(index, "again")
    (folder_of(index) / "snapshot.pem").unlink()
    with pytest.raises(ConfigError, match="`snapshot`"):
        refresh(index)


def test_pages_are_what_the_standards_say(served: str) -> None:
    import httpx

    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
    with httpx.Client(base_url=served, headers={"Accept": accept}, trust_env=False) as web:
        root = web.get("/simple/")
        assert root.headers["content-type"] == "application/vnd.pypi.simple.v1+json"
        assert [each["name"] for each in root.json()["projects"]] == ["dataflare-geohash", "dataflare-nmea-source"]
        page = web.get("/simple/dataflare-geohash/").json()
        assert page["meta"]["api-version"] == "1.1"
        assert page["versions"] == ["1.0.0", "1.1.0"]
        (file, _) = page["files"]
        metadata = web.get(f"/files/geohash/{file['filename']}.metadata")
        assert hashlib.sha256(metadata.content).hexdigest() == file["core-metadata"]["sha256"]
        html = web.get("/simple/dataflare-geohash/", headers={"Accept": "text/html"})
        assert "data-core-metadata" in html.text
        assert web.get("/files/").status_code == 404


def test_the_commands(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "dataflare_host"]
    place = str(tmp_path / "shop")

    def told(*words: str, code: int = 0) -> dict[str, object]:
        done = subprocess.run([*run, "index", *words, "--json"], capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert told("init", place, "--name", "shop")["name"] == "shop"
    assert told("add", place, str(wheel(tmp_path, "one")))["added"] == ["dataflare_one-1.0.0-py3-none-any.whl"]
    assert told("yank", place, "one", "1.0.0", "--reason", "old")["yanked"] == "one 1.0.0"
    assert told("verify", place)["ok"] is True
    (Path(place) / "files" / "one" / "x").write_text("x")
    assert told("verify", place, code=1)["ok"] is False
