"""What plugins need of others is in the same index: pip and uv install from it alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflare import ConfigError
from dataflare_index import publishing
from dataflare_index.checking import mirror, root_of, verify
from dataflare_index.client import Client
from dataflare_index.others import read_all
from dataflare_index.publishing import add, init
from dataflare_index.rotating import rotate
from dataflare_index.serving import server_of
from dataflare_index.signing import newest

from .wheels import wheel


def other(folder: Path, name: str, needs: str = "", version: str = "1.0") -> Path:
    """A wheel of somebody else's distribution."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    need = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{need}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place, shelf = tmp_path / "index", tmp_path / "shelf"
    init(place, "test")
    other(shelf, "zz_lib", "zz-base>=1")
    other(shelf, "zz_base")
    other(shelf, "zz_unused")
    plugin = wheel(tmp_path / "built", "needy", runtime="python", needs="zz-lib")
    told = add(place, [plugin], with_deps=True, deps_from=[shelf])
    assert sorted(told["added"]) == [plugin.name, "zz_base-1.0-py3-none-any.whl", "zz_lib-1.0-py3-none-any.whl"]
    return place


@pytest.fixture
def served(index: Path) -> Iterator[str]:
    with server_of(index, 0, quiet=True) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
        server.shutdown()


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_pip_and_uv_need_this_index_only(served: str, tmp_path: Path, tool: str) -> None:
    target = tmp_path / "site"
    words = {"pip": ["pip", "install", "--isolated", "-q"], "uv": ["uv", "pip", "install", "--no-config"]}[tool]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    run = [sys.executable, "-m", *words, "--no-cache-dir", "--target", str(target), "--index-url", served]
    done = subprocess.run([*run, "dataflare-needy"], capture_output=True, text=True, timeout=120, env=clean)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in target.glob("*.dist-info")} == {
        "dataflare_needy-1.0.0.dist-info",
        "zz_lib-1.0.dist-info",
        "zz_base-1.0.dist-info",
    }


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
    same = add(index, [plugin], with_deps=True, deps_from=[tmp_path / "shelf"])
    assert sorted(same["known"]) == ["zz_base-1.0-py3-none-any.whl", "zz_lib-1.0-py3-none-any.whl"]
    other(tmp_path / "bad", "zz_lib")
    plugin = wheel(tmp_path / "new", "needy", "1.2.0", runtime="python", needs="zz-lib")
    with pytest.raises(ConfigError, match="published with other content"):
        add(index, [plugin], with_deps=True, deps_from=[tmp_path / "bad"])
    with pytest.raises(ConfigError) as caught:
        add(
            index,
            [wheel(tmp_path / "x", "poor", runtime="python", needs="zz-gone")],
            with_deps=True,
            deps_from=[tmp_path],
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
            add(index, [plugin], with_deps=True, deps_from=[tmp_path / "later"])
    add(index, [wheel(tmp_path / "new", "another")])
    assert verify(index) == []
    assert list(next(one for one in read_all(index) if one.name == "zz-lib").releases) == ["1.0"]
    add(index, [plugin], with_deps=True, deps_from=[tmp_path / "later"])
    rotate(index, distrust=before + 1)
    assert verify(index) == []
    assert [list(one.releases) for one in read_all(index)] == [["1.0"], ["1.0"]]
    page = (index / "simple" / "zz-lib" / "index.html").read_text()
    assert "zz_lib-2.0" not in page


def test_a_wheel_without_python_asks_for_none(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        add(index, [wheel(tmp_path / "x", "odd", needs="zz-lib")])
    assert caught.value.code == "index.needs"
