"""The pylocks of a project (PEP 751): which files of other distributions its Python plugins run with, by digest.

``locks/pylock.PLUGIN.toml`` is for the environment of a plugin that runs in a worker, ``locks/pylock.toml`` for what
the plugins need that run in the host's own process. uv makes them, for every platform and every Python that the plugins
can have. The lock holds their digests.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

from dataflare.errors import ConfigError
from dataflare_author import whole
from dataflare_author.refusals import NoSolution
from dataflare_host.sets import host_path
from dataflare_packages.lockfile import Lock, digest_of

if TYPE_CHECKING:
    from dataflare_index.trusted import Trusted

Json = Any
FOLDER = "locks"
SECONDS = 1800
AT_ONCE = 4


@dataclass(frozen=True)
class Order:
    """One pylock that is to be there. ``plugin``: ``""`` for the host's own process.

    ``pythons``: the versions of Python that the plugins can have; ``indexes``: where their needs are looked for before
    where uv looks by itself. ``held``: the digest of the one that was locked, ``same``: was it for just these needs?
    ``anew``: take the newest of everything; ``rest``: how old that has to be.
    """

    plugin: str
    needs: tuple[str, ...]
    pythons: SpecifierSet
    indexes: tuple[Trusted, ...]
    held: str = ""
    same: bool = False
    anew: bool = False
    rest: timedelta = timedelta()


def file_of(plugin: str) -> str:
    """Where the pylock of a plugin is in a project; ``""``: that of the host's own process."""
    return f"{FOLDER}/pylock.{plugin}.toml" if plugin else f"{FOLDER}/pylock.toml"


def needs_of_others(requirements: Iterable[str]) -> tuple[str, ...]:
    """What a plugin requires beside the SDK, without what only its extras need."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    from dataflare_worker.lent import SDK

    wanted = [Requirement(each) for each in requirements]
    used = [each for each in wanted if "extra" not in str(each.marker or "")]
    return tuple(sorted({str(each) for each in used if canonicalize_name(each.name) != SDK}))


def are_lent(needs: Iterable[str]) -> bool:
    """Does all of it come from the host, so that no pylock is needed?"""
    from packaging.requirements import Requirement

    from dataflare_worker.lent import OURS

    return all(OURS.match(Requirement(each).name) for each in needs)


def made(orders: Collection[Order], project: Path) -> dict[str, bytes]:
    """The pylocks that are ordered, by plugin; one that is there stays while it does what is asked.

    Raises NoSolution ``lock.python``, NotTrusted ``index.not_trusted``, ConfigError ``lock.no_uv``.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda order: _made(order, project), orders))
    return {order.plugin: content for order, content in zip(orders, found, strict=True)}


@contextmanager
def written(pylocks: Mapping[str, bytes], before: Lock, project: Path) -> Iterator[None]:
    """Write them into a project, and take back what was written if what is done meanwhile fails.

    At the end those go that ``before`` names and that are not needed any more.
    """
    former: dict[Path, bytes | None] = {}
    try:
        for plugin, content in pylocks.items():
            file = project / file_of(plugin)
            held = file.read_bytes() if file.exists() else None
            if held != content:
                former[file] = held
                file.parent.mkdir(exist_ok=True)
                whole.write(file, content)
        yield
    except BaseException:
        for file, held in former.items():
            if held is None:
                file.unlink(missing_ok=True)
            else:
                whole.write(file, held)
        raise
    for plugin in {*before.pylocks()} - {*pylocks}:
        (project / file_of(plugin)).unlink(missing_ok=True)


def differing(lock: Lock, project: Path) -> tuple[str, str] | None:
    """The first pylock that is not as locked, and what is wrong with it."""
    for plugin, digest in sorted(lock.pylocks().items()):
        try:
            have = digest_of((project / file_of(plugin)).read_bytes())
        except OSError:
            return file_of(plugin), "it is not there"
        if have != digest:
            return file_of(plugin), "it was changed since it was locked"
    return None


def check(lock: Lock, project: Path) -> None:
    """Raises ConfigError ``lock.pylock`` where a pylock is not the one that was locked."""
    if wrong := differing(lock, project):
        message = f"`{wrong[0]}` is not what the lock says"
        fix = f"take it from version control, or `dataflare plugin lock --project {project}`"
        raise ConfigError.of("lock.pylock", message, cause=wrong[1], file=str(project / wrong[0]), fix=fix)


def _made(order: Order, project: Path) -> bytes:
    from dataflare_worker.pylock import lacking

    file = project / file_of(order.plugin)
    there = file.read_bytes() if file.is_file() else None
    if there is not None and not order.anew:
        ours = digest_of(there) == order.held
        if order.same if ours else not lacking(there, order.needs):
            return there
    with tempfile.TemporaryDirectory(prefix="dataflare-lock-") as folder:
        return _compiled(order, project, Path(folder), None if order.anew else there)


def _compiled(order: Order, project: Path, folder: Path, former: bytes | None) -> bytes:
    from dataflare_index.vouched import served
    from dataflare_worker.installing import find_uv

    uv = find_uv()
    if uv is None:
        message = f"what {_whose(order)} cannot be locked: uv is not here"
        raise ConfigError.of("lock.no_uv", message, cause=", ".join(order.needs), fix="install `uv`")
    target = folder / Path(file_of(order.plugin)).name
    words = [uv, "pip", "compile", "--output-file", str(target), *_demands(order, folder)]
    words += ["--format", "pylock.toml", "--universal", "--no-header", "--no-annotate", "--no-build", "--quiet"]
    words += ["--python", sys.executable, "--python-version", _lowest(order.pythons)]
    if order.rest:
        words += ["--exclude-newer", (datetime.now(UTC) - order.rest).strftime("%Y-%m-%dT%H:%M:%SZ")]
    with ExitStack() as stack:
        places = [(index.address(), stack.enter_context(served(index))) for index in order.indexes]
        variables = _variables([shown for _, shown in places], folder / "ours")
        for kept in dict.fromkeys((former, None)):
            if kept is None:
                target.unlink(missing_ok=True)
            else:
                target.write_bytes(_at(places, kept, back=True))  # what is in it stays while it fits
            done = subprocess.run(words, cwd=project, env=variables, capture_output=True, text=True, timeout=SECONDS)
            if done.returncode == 0:
                break
    if done.returncode == 0:
        return _at(places, target.read_bytes())
    solved = done.returncode != 1
    raise (ConfigError if solved else NoSolution).of(
        "lock.python",
        f"what {_whose(order)} {'cannot be locked' if solved else 'does not go together'}",
        cause=f"{order.plugin or 'inline'}: {done.stderr.strip().replace(str(folder), '')[-4000:]}",
        fix="mend the plugin's dependencies, or the settings of uv (index, find-links, network)",
        details={"core": {order.plugin: ", ".join(order.needs)}, "chains": [], "fixes": []},
    )


def _whose(order: Order) -> str:
    return f"`{order.plugin}` needs" if order.plugin else "the plugins need that run in the host's process"


def _at(places: Iterable[tuple[str, str]], content: bytes, *, back: bool = False) -> bytes:
    """A pylock with the indexes' own addresses in place of those that they were served under, or ``back``."""
    for own, shown in places:
        content = content.replace(*((own.encode(), shown.encode()) if back else (shown.encode(), own.encode())))
    return content


def _demands(order: Order, folder: Path) -> list[str]:
    """The part of uv's command that says what is wanted; what the host lends is within its bounds, and left out."""
    hosts, needs, bounds = _of_host(), folder / "needs.txt", folder / "bounds.txt"
    needs.write_text("".join(f"{each}\n" for each in order.needs), "utf-8")
    bounds.write_text("".join(f"{each}\n" for each in _bounds(hosts, inline=not order.plugin)), "utf-8")
    (folder / "ours").mkdir()
    _stand_for(hosts, folder / "ours")
    left_out = [word for each in hosts for word in ("--no-emit-package", each.metadata["Name"])]
    return [str(needs), "--constraint", str(bounds), *left_out]


def _of_host() -> list[metadata.Distribution]:
    """What comes from the host and from no index: its own distributions."""
    from dataflare_worker.lent import OURS

    found: dict[str, metadata.Distribution] = {}
    for each in metadata.distributions(path=host_path()):
        if OURS.match(name := each.metadata["Name"]):
            found.setdefault(name, each)
    return [found[name] for name in sorted(found)]


def _bounds(hosts: Iterable[metadata.Distribution], *, inline: bool) -> list[str]:
    """The ranges that the host leaves: what it lends works with others in these only."""
    from dataflare_worker.lent import SDK

    return sorted(
        {
            line
            for each in hosts
            if inline or each.metadata["Name"] == SDK
            for line in needs_of_others(each.requires or ())
        }
    )


def _stand_for(hosts: Iterable[metadata.Distribution], folder: Path) -> None:
    """Wheels that hold nothing but names and versions: what is lent, and needs nothing more."""
    from dataflare_worker.lent import empty_wheel

    for each in hosts:
        name, version = each.metadata["Name"], each.version
        empty_wheel(folder, name, version, f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def _lowest(pythons: SpecifierSet) -> str:
    """The lowest version of Python that the host and the plugins can have."""
    from dataflare_worker.lent import SDK

    wanted = pythons & SpecifierSet(metadata.metadata(SDK)["Requires-Python"] or "")
    usual = f"{sys.version_info.major}.{sys.version_info.minor}"
    return next((version for version in (f"3.{minor}" for minor in range(8, 40)) if f"{version}.99" in wanted), usual)


def _variables(places: Iterable[str], links: Path) -> dict[str, str]:
    """The variables of this process, with the places that uv looks into first; options would take theirs away."""
    from dataflare_worker.installing import with_links

    known = {name: value for name, value in with_links(links).items() if name not in ("VIRTUAL_ENV", "UV_PYTHON")}
    added = {"UV_INDEX": (" ", [f"{place}simple/" for place in places]), "NO_PROXY": (",", ["127.0.0.1"])}
    for name, (between, more) in added.items():
        known[name] = between.join(filter(None, [*more, known.get(name, "")]))
    return {name: value for name, value in known.items() if value}
