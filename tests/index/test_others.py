"""What plugins need of others is in the same index: pip and uv install from it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from wheel_files import pack, sealed

from dataflare import ConfigError
from dataflare_index import closure, publishing
from dataflare_index.checking import mirror, root_of, verify
from dataflare_index.client import Client
from dataflare_index.closure import Wanted
from dataflare_index.others import read_all
from dataflare_index.publishing import add, init
from dataflare_index.rotating import rotate
from dataflare_index.signing import newest

from .served import serving
from .wheels import wheel


def other(folder: Path, name: str, needs: str = "", version: str = "1.0", tag: str = "py3-none-any") -> Path:
    """A wheel of somebody else's distribution."""
    info = f"{name}-{version}.dist-info"
    need = "".join(f"Requires-Dist: {each}\n" for each in needs.splitlines())
    files = {
        f"{name}.py": f"tag = {tag!r}\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{need}".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    return pack(folder / f"{name}-{version}-{tag}.whl", sealed(files))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place, shelf = tmp_path / "index", tmp_path / "shelf"
    init(place, "test")
    other(shelf, "zz_lib", "zz-base>=1")
    other(shelf, "zz_base")
    other(shelf, "zz_unused")
    plugin = wheel(tmp_path / "built", "needy", runtime="python", needs="zz-lib")
    told = add(place, [plugin], deps=Wanted([str(shelf)]))
    assert sorted(told["added"]) == [plugin.name, "zz_base-1.0-py3-none-any.whl", "zz_lib-1.0-py3-none-any.whl"]
    return place


@pytest.fixture
def served(index: Path) -> Iterator[str]:
    with serving(index) as address:
        yield f"{address}/simple/"


def install(tool: str, place: str, target: Path, *more: str) -> set[str]:
    """What a tool installs of `dataflare-needy`, from this place alone."""
    words = {"pip": ["pip", "install", "--isolated", "-q"], "uv": ["uv", "pip", "install", "--no-config"]}[tool]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    run = [sys.executable, "-m", *words, "--no-cache-dir", "--target", str(target), "--index-url", place]
    done = subprocess.run([*run, *more, "dataflare-needy"], capture_output=True, text=True, timeout=120, env=clean)
    assert done.returncode == 0, done.stderr
    return {path.name.removesuffix(".dist-info") for path in target.glob("*.dist-info")}


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_pip_and_uv_need_this_index_only(served: str, tmp_path: Path, tool: str) -> None:
    assert install(tool, served, tmp_path / "site") == {"dataflare_needy-1.0.0", "zz_lib-1.0", "zz_base-1.0"}


MARKED = "zz-win; sys_platform == 'win32'\nzz-new; python_version >= '3.13'\nzz-base"
TAGS = [
    *(f"cp{python}-cp{python}-{place}" for python in (311, 312, 313) for place in ("linux_x86_64", "win_amd64")),
    "cp311-abi3-macosx_11_0_arm64",
    "cp313-cp313t-win_amd64",
]


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[str]:
    """The Simple API of others, where `zz-lib` has wheels for many."""
    place, shelf = tmp_path / "upstream", tmp_path / "many"
    for tag in TAGS:
        other(shelf, "zz_lib", MARKED, tag=tag)
    for name in ("zz_win", "zz_new", "zz_base", "zz_unused"):
        other(shelf, name)
    init(place, "upstream")
    add(place, [wheel(tmp_path / "up", "up", runtime="python", needs="zz-lib")], deps=Wanted([str(shelf)]))
    with serving(place) as address:
        yield f"{address}/simple/"


def test_they_come_from_an_index_for_all_platforms_and_pythons(upstream: str, tmp_path: Path) -> None:
    place = tmp_path / "whole"
    init(place, "whole")
    plugin = wheel(tmp_path / "built", "needy", runtime="python", needs="zz-lib")
    told = add(place, [plugin], deps=Wanted([upstream]))["added"]
    more = [f"{name}-1.0-py3-none-any.whl" for name in ("zz_win", "zz_new", "zz_base")]
    assert sorted(told) == sorted([plugin.name, *more, *(f"zz_lib-1.0-{tag}.whl" for tag in TAGS)])
    assert verify(place) == []
    with serving(place) as address:
        assert install("pip", f"{address}/simple/", tmp_path / "here") == {
            "dataflare_needy-1.0.0",
            "zz_lib-1.0",
            "zz_base-1.0",
        }
        for python, platform, more in (("3.12", "windows", {"zz_win-1.0"}), ("3.13", "linux", {"zz_new-1.0"})):
            target = tmp_path / platform
            asked = ["--python-platform", platform, "--python-version", python]
            wanted = {"dataflare_needy-1.0.0", "zz_lib-1.0", "zz_base-1.0", *more}
            assert install("uv", f"{address}/simple/", target, *asked) == wanted
            number = python.replace(".", "")
            tag = f"cp{number}-cp{number}-{'win_amd64' if platform == 'windows' else 'linux_x86_64'}"
            assert tag in (target / "zz_lib.py").read_text()


def test_they_come_for_whom_they_are_wanted(upstream: str, tmp_path: Path) -> None:
    place = tmp_path / "some"
    init(place, "some")
    plugin = wheel(tmp_path / "built", "needy", runtime="python", needs="zz-lib")
    words = [str(place), str(plugin), "--with-deps", "--deps-from", upstream, "--json"]
    words += ["--platform", "win_amd64", "--platform", "macosx", "--python", "3.12"]
    run = [sys.executable, "-m", "dataflare_host", "index", "add", *words]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    told = json.loads(done.stdout)["added"]
    libs = [name for name in told if name.startswith("zz_lib")]
    assert libs == ["zz_lib-1.0-cp311-abi3-macosx_11_0_arm64.whl", "zz_lib-1.0-cp312-cp312-win_amd64.whl"]


def test_what_an_index_gives_is_what_it_says_it_is(upstream: str, tmp_path: Path) -> None:
    place = tmp_path / "wary"
    init(place, "wary")
    plugin = wheel(tmp_path / "built", "needy", runtime="python", needs="zz-lib")
    swapped = next((tmp_path / "upstream" / "others" / "zz-lib").glob("*win_amd64.whl"))
    swapped.write_bytes(b"else")
    with pytest.raises(ConfigError, match="not what the index says"):
        add(place, [plugin], deps=Wanted([upstream]))
    assert not (place / "catalogue" / "needy.json").exists()


def test_without_uv_pip_takes_them_for_this_machine(
    upstream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closure, "_uv", lambda: None)
    place = tmp_path / "here"
    init(place, "here")
    add(place, [wheel(tmp_path / "built", "needy", runtime="python", needs="zz-base")], deps=Wanted([upstream]))
    assert [one.name for one in read_all(place)] == ["zz-base"]


def test_they_are_signed_and_mirrored_as_all_else(index: Path, tmp_path: Path) -> None:
    assert verify(index) == []
    mirror(str(index), tmp_path / "copy", root_of(index))
    mirror(str(tmp_path / "copy"), tmp_path / "copy-of-copy", root_of(index))
    assert verify(tmp_path / "copy-of-copy", root_of(index)) == []
    assert Client(str(tmp_path / "copy-of-copy"), root_of(index), tmp_path / "c").names() == ["needy"]
    page = (tmp_path / "copy-of-copy" / "simple" / "index.html").read_text()
    assert "dataflare-needy" in page
    assert "zz-lib" in page
    (index / "others" / "zz-lib" / "more.whl").write_text("x")
    assert [problem.code for problem in verify(index)] == ["index.unsigned"]


def test_what_is_published_of_others_never_changes_either(index: Path, tmp_path: Path) -> None:
    plugin = wheel(tmp_path / "new", "needy", "1.1.0", runtime="python", needs="zz-lib")
    same = add(index, [plugin], deps=Wanted([str(tmp_path / "shelf")]))
    assert sorted(same["known"]) == ["zz_base-1.0-py3-none-any.whl", "zz_lib-1.0-py3-none-any.whl"]
    other(tmp_path / "bad", "zz_lib")
    plugin = wheel(tmp_path / "new", "needy", "1.2.0", runtime="python", needs="zz-lib")
    with pytest.raises(ConfigError, match="published with other content"):
        add(index, [plugin], deps=Wanted([str(tmp_path / "bad")]))
    with pytest.raises(ConfigError) as caught:
        add(
            index,
            [wheel(tmp_path / "x", "poor", runtime="python", needs="zz-gone")],
            deps=Wanted([str(tmp_path)]),
        )
    assert (caught.value.code, "zz-gone" in str(caught.value)) == ("index.closure", True)
    assert verify(index) == []


def test_power_loss_and_going_back_after_a_theft_know_them_too(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = newest(index, "snapshot").signed.version
    other(tmp_path / "later", "zz_lib", version="2.0")
    plugin = wheel(tmp_path / "new", "needy", "1.1.0", runtime="python", needs="zz-lib>=2")
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "publish", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            add(index, [plugin], deps=Wanted([str(tmp_path / "later")]))
    add(index, [wheel(tmp_path / "new", "another")])
    assert verify(index) == []
    assert list(next(one for one in read_all(index) if one.name == "zz-lib").releases) == ["1.0"]
    add(index, [plugin], deps=Wanted([str(tmp_path / "later")]))
    rotate(index, distrust=before + 1)
    assert verify(index) == []
    assert [list(one.releases) for one in read_all(index)] == [["1.0"], ["1.0"]]
    page = (index / "simple" / "zz-lib" / "index.html").read_text()
    assert "zz_lib-2.0" not in page


def test_a_wheel_without_python_asks_for_none(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        add(index, [wheel(tmp_path / "x", "odd", needs="zz-lib")])
    assert caught.value.code == "index.needs"
