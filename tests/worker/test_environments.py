"""Environments of plugins: made once, whole or not at all, with the host's SDK and without its other packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from worker.projects import write_wheel

from dataflare.errors import ConfigError
from dataflare_worker.environments import Environments
from dataflare_worker.installing import find_uv
from dataflare_worker.needs import needs_of

INSTALLERS = ["pip", "uv"]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that the installers know: greetings 1 and 2, and a large one."""
    folder = tmp_path / "index"
    for version in ("1.0", "2.0"):
        write_wheel(folder, "greeting_for_tests", version, {"greeting.py": f"version = {version!r}\n"})
    write_wheel(folder, "large_for_tests", "1.0", {"large/__init__.py": "", "large/data.txt": "x" * 20_000_000})
    write_wheel(folder, "annotated_types", "0.1", {"annotated_types.py": "ours = True\n"})
    write_wheel(folder, "old_fashioned_for_tests", "1.0", {"old_fashioned.py": ""}, ["annotated-types<0.5"])
    for word in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(word, str(folder))
    for word in ("PIP_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.setenv(word, "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return folder


def run(python: Path, code: str) -> Any:
    done = subprocess.run([python, "-I", "-c", f"import json\n{code}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SEEN = """
import importlib.util, importlib.metadata, dataflare, pyarrow
names = ("dataflare", "pyarrow", "pydantic", "polars", "pip", "dataflare_host", "greeting")
print(json.dumps({
    "there": [name for name in names if importlib.util.find_spec(name)],
    "sdk": importlib.metadata.version("dataflare-sdk"), "arrow": pyarrow.__version__, "place": dataflare.__file__,
}))
"""


def test_without_other_requirements_nothing_is_installed_and_no_network_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    environments = Environments(tmp_path, installer="uv")
    needed = ["dataflare-sdk>=1.0,<2", "pyarrow>=18", 'nothing>1; python_version < "3"']
    python = environments.python(needed, "p")
    seen = run(python, SEEN)
    import pyarrow as pa

    assert seen["there"] == ["dataflare", "pyarrow", "pydantic"]
    assert (seen["sdk"], seen["arrow"]) == ("1.0.0", pa.__version__)
    assert size_of(tmp_path) < 1_000_000
    assert (
        environments.python(["pyarrow>=18", "dataflare-sdk>=1.0,<2", 'nothing>1; python_version < "3"'], "q") == python
    )


def test_what_is_installed_here_in_a_version_that_fits_is_lent_and_nothing_else(tmp_path: Path, index: Path) -> None:
    environments = Environments(tmp_path / "made")
    python = environments.python(["dataflare-sdk", "pluggy>=1"], "p")
    assert json.loads((python.parents[1] / "environment.json").read_text())["installer"] is None
    assert run(python, "import pluggy; print(json.dumps(pluggy.__version__))")
    with pytest.raises(ConfigError):
        environments.python(["dataflare-sdk", "pluggy<0.1"], "p")  # and no index has it
    with pytest.raises(ConfigError):
        environments.python(["dataflare-sdk", "this is no requirement"], "p")


@pytest.mark.parametrize("installer", INSTALLERS)
def test_what_a_plugin_requires_is_installed_beside_the_sdk(tmp_path: Path, index: Path, installer: str) -> None:
    environments = Environments(tmp_path / "made", installer=installer)
    python = environments.python(["dataflare-sdk", "greeting-for-tests<2"], "p")
    assert run(python, "import greeting; print(json.dumps(greeting.version))") == "1.0"
    assert run(python, SEEN)["there"] == ["dataflare", "pyarrow", "pydantic", "greeting"]
    other = environments.python(["dataflare-sdk", "greeting-for-tests>=2"], "q")
    assert run(other, "import greeting; print(json.dumps(greeting.version))") == "2.0"


@pytest.mark.parametrize("installer", INSTALLERS)
def test_a_requirement_that_contradicts_what_the_sdk_uses_is_refused_with_its_reason(
    tmp_path: Path, index: Path, installer: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        # Here no index has a pydantic that would go with it.
        Environments(tmp_path / "made", installer=installer).python(["dataflare-sdk", "old-fashioned-for-tests"], "p")
    (problem,) = caught.value.problems
    assert problem.code == "worker.environment"
    assert "`p`" in problem.message
    assert "pydantic" in (problem.cause or "") or "pyarrow" in (problem.cause or "")
    assert not [path for path in (tmp_path / "made").iterdir() if path.is_dir()]


@pytest.mark.parametrize("installer", INSTALLERS)
def test_what_is_lent_gives_way_to_another_version_where_all_can_be_installed(
    tmp_path: Path, index: Path, installer: str
) -> None:
    for name in ("pydantic", "pyarrow"):
        write_wheel(index, name, "20.0" if name == "pyarrow" else "2.11", {f"{name}.py": "installed = True\n"})
    python = Environments(tmp_path / "made", installer=installer).python(
        ["dataflare-sdk", "old-fashioned-for-tests"], "p"
    )
    code = "import annotated_types as a, pyarrow, dataflare.errors; print(json.dumps([a.ours, pyarrow.installed]))"
    assert run(python, code) == [True, True]


@pytest.mark.parametrize("installer", INSTALLERS)
def test_a_second_environment_shares_what_both_have(tmp_path: Path, index: Path, installer: str) -> None:
    environments = Environments(tmp_path / "made", installer=installer)
    environments.python(["dataflare-sdk", "large-for-tests", "greeting-for-tests<2"], "p")
    before = size_of(tmp_path)
    python = environments.python(["dataflare-sdk", "large-for-tests", "greeting-for-tests>=2"], "q")
    assert size_of(tmp_path) - before < 1_000_000
    assert run(python, "import large; print(json.dumps(large.__file__))").startswith(str(python.parents[1]))


def test_what_cannot_be_installed_is_said_in_the_installers_words(tmp_path: Path, index: Path) -> None:
    for installer in INSTALLERS:
        with pytest.raises(ConfigError) as caught:
            Environments(tmp_path / "made", installer=installer).python(
                ["dataflare-sdk", "no-such-thing-for-tests"], "p"
            )
        assert "no-such-thing-for-tests" in (caught.value.problems[0].cause or "").replace("_", "-")


def test_a_half_built_environment_is_built_anew(tmp_path: Path, index: Path) -> None:
    environments = Environments(tmp_path / "made")
    python = environments.python(["greeting-for-tests"], "p")
    made = python.parents[1]
    (made / "environment.json").unlink()
    next(made.rglob("greeting.py")).unlink()
    assert environments.python(["greeting-for-tests"], "p") == python
    assert run(python, "import greeting; print(json.dumps(greeting.version))") == "2.0"


def test_several_builders_at_once_make_one_environment(tmp_path: Path, index: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dataflare_worker.environments import Environments\n"
        "print(Environments(Path(sys.argv[1])).python(['greeting-for-tests'], 'p'))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "made")]
    builders = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(Environments(tmp_path / "made").python(["greeting-for-tests"], "p"))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = {builder.communicate(timeout=120)[0].strip() for builder in builders}
    assert told == {str(python) for python in found}
    assert len(found) == 3
    assert run(found[0], "import greeting; print(json.dumps(greeting.version))") == "2.0"


def test_a_builder_that_was_killed_leaves_nothing_that_is_used(tmp_path: Path, index: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; import dataflare_worker.environments as made\n"
        "made.link_all = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "made.Environments(Path(sys.argv[1])).python(['greeting-for-tests'], 'p')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "made")], timeout=120)
    assert done.returncode == -9
    python = Environments(tmp_path / "made").python(["greeting-for-tests"], "p")
    assert run(python, "import dataflare, greeting; print(json.dumps(greeting.version))") == "2.0"


def test_the_needs_of_a_plugin_are_read_from_its_wheel_or_its_source(tmp_path: Path) -> None:
    package = tmp_path / "unpacked" / "dataflare_thing"
    package.mkdir(parents=True)
    info = package.parent / "dataflare_thing-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dataflare-thing\nVersion: 1\nRequires-Dist: a>1\n")
    assert needs_of(package).requirements == ("a>1",)
    assert needs_of(package).folder == package.parent
    source = tmp_path / "source" / "src" / "dataflare_thing"
    source.mkdir(parents=True)
    (tmp_path / "source" / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["b"]\n')
    assert needs_of(source).requirements == ("b",)
    other = package.parent / "other-1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "RECORD").write_text("dataflare_thing/__init__.py,,\ndataflare_thing-0.1.0.dist-info/METADATA,,\n")
    assert needs_of(package).links == (package, info)


def test_uv_is_found_where_its_package_is_installed() -> None:
    assert find_uv() is not None


def size_of(folder: Path) -> int:
    """Bytes on disk, a file that is linked several times counted once."""
    seen: dict[tuple[int, int], int] = {}
    for place, _, files in os.walk(folder):
        for name in files:
            told = os.lstat(Path(place, name))
            seen[told.st_dev, told.st_ino] = told.st_blocks * 512
    return sum(seen.values())
