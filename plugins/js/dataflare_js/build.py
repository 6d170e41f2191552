"""Builds the JavaScript engines, from what npm and PyPI have and the sources in ``engine/``.

``python -m dataflare_js.build [NAME…]`` builds those that are not there yet into the user's cache, where the loader
looks for them. ``starling`` needs Node.js with npm, ``quickjs`` needs Python alone; both need the registries once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent / "engine"
PACKED_SDK = SOURCES / "sdk"
"""Where the SDK that the large engine holds is in a wheel."""
SDK = PACKED_SDK if PACKED_SDK.is_dir() else Path(__file__).parents[3] / "sdk-js"
_SECONDS = 900
_QUICKJS = ("quickjs.c", "dtoa.c", "libregexp.c", "libunicode.c")


class BuildFailed(Exception):
    """An engine could not be built here; the message says what was missing or what failed."""


@dataclass(frozen=True)
class Recipe:
    """What an engine is made of: source files in ``engine/``, packages with their versions, how, and with the SDK?"""

    sources: Sequence[str]
    packages: Sequence[str]
    make: Callable[[Path, Recipe], Path]
    with_sdk: bool = False


def cache_folder() -> Path:
    """The folder in the user's cache for what this plugin keeps."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dataflare")
    return Path(os.environ.get("DATAFLARE_CACHE") or usual) / "js"


@cache
def digest_of(name: str) -> str:
    """The digest of what an engine is made of: its sources, its packages and their versions, and how."""
    recipe = ENGINES[name]
    made_of = hashlib.sha256("\n".join(recipe.packages).encode())
    for source in (*recipe.sources, "../build.py"):
        made_of.update((SOURCES / source).read_bytes())
    for file in sdk_files() if recipe.with_sdk else ():
        made_of.update((SDK / file).read_bytes())
    return made_of.hexdigest()


def sdk_files() -> list[Path]:
    """What of the SDK goes into an engine, relative to its folder."""
    return [Path("package.json"), Path("bundle.mjs"), *sorted(file.relative_to(SDK) for file in SDK.glob("src/*.ts"))]


def cached(name: str) -> Path:
    """Where an engine is kept once it was built."""
    return cache_folder() / f"{name}-{digest_of(name)[:16]}.wasm"


def build(name: str) -> Path:
    """The engine in the cache, built if it is not there. Raises BuildFailed."""
    target = cached(name)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dataflare-js-") as folder:
        made = ENGINES[name].make(Path(folder), ENGINES[name])
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(made, aside)
        aside.replace(target)
    return target


def _starling(folder: Path, recipe: Recipe) -> Path:
    """StarlingMonkey as componentize-js packs it, every feature off; of the component, the engine's core module."""
    for source in recipe.sources:
        shutil.copy(SOURCES / source, folder)
    for file in sdk_files():
        (folder / "sdk" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SDK / file, folder / "sdk" / file)
    (folder / "package.json").write_text(json.dumps({"private": True, "type": "module"}), encoding="utf-8")
    _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "./sdk", *recipe.packages], folder)
    _run(["node", "pack.mjs", "starling.js", "world.wit", "component.wasm"], folder)
    made = folder / "starling.wasm"
    made.write_bytes(max(_core_modules((folder / "component.wasm").read_bytes()), key=len))
    return made


def _core_modules(component: bytes) -> Iterator[bytes]:
    """The core modules of a component: its top-level sections with the id 1."""
    at = 8
    while at < len(component):
        section, size, shift = component[at], 0, 0
        while True:
            at += 1
            size |= (component[at] & 0x7F) << shift
            shift += 7
            if not component[at] & 0x80:
                break
        at += 1
        if section == 1:
            yield component[at : at + size]
        at += size


def _quickjs(folder: Path, recipe: Recipe) -> Path:
    """QuickJS-ng with our exports, compiled by the C compiler that ziglang carries."""
    compiler, engine = recipe.packages
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    _run([python, "-m", "pip", "install", "--quiet", compiler], folder)
    name = engine.partition("==")[0]
    _run([python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, engine], folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "source", filter="data")
    upstream = next((folder / "source").glob("*/upstream-quickjs"))
    core = upstream / "quickjs.c"
    # Under WASI, QuickJS does not watch its stack: too deep a recursion would trap, and not throw.
    core.write_text(core.read_text("utf-8").replace("defined(__wasi__)\n", "0\n").replace("#ifdef __wasi__", "#if 0"))
    made = folder / "quickjs.wasm"
    words = "-target wasm32-wasi -mexec-model=reactor -O2 -DNDEBUG -D_GNU_SOURCE -D_WASI_EMULATED_SIGNAL"
    sources = [str(SOURCES / "quickjs.c"), *(str(upstream / file) for file in _QUICKJS)]
    linking = ["-lwasi-emulated-signal", "-Wl,-z,stack-size=786432", "-Wl,--strip-all", "-o", str(made)]
    _run([python, "-m", "ziglang", "cc", *words.split(), f"-I{upstream}", *sources, *linking], folder)
    return made


def _run(words: Sequence[str], folder: Path) -> None:
    program = shutil.which(words[0])
    if program is None:
        raise BuildFailed(f"there is no `{words[0]}` on this machine")
    try:
        done = subprocess.run(
            [program, *words[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"`{words[0]} {words[1]}` took longer than {_SECONDS} seconds") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise BuildFailed(f"`{' '.join(words[:4])} …` failed:\n{last}")


ENGINES: Mapping[str, Recipe] = {
    "starling": Recipe(
        ("world.wit", "starling.js", "pack.mjs"),
        ("@bytecodealliance/componentize-js@0.23.0",),
        _starling,
        with_sdk=True,
    ),
    "quickjs": Recipe(("quickjs.c",), ("ziglang==0.17.1", "edwh-quickjs-ng==0.14.0.3"), _quickjs),
}


def main(names: Sequence[str]) -> int:
    """Build the engines with these names, or all; exit code 1 if one could not be built."""
    failed = False
    for name in names or ENGINES:
        try:
            print(build(name))
        except BuildFailed as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
