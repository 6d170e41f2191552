"""The pylocks of a project (PEP 751): which files of other distributions its Python plugins run with, by digest.

``locks/pylock.PLUGIN.toml`` is for the environment of a plugin that runs in a worker, ``locks/pylock.toml`` for what
the plugins need that run in the host's own process. uv makes them, for every platform and every Python that the plugins
can have. The lock holds their digests.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

from dataflare.errors import ConfigError
from dataflare_author import whole
from dataflare_author.refusals import NoSolution, NotTrusted
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
    ``anew``: take the newest of everything.
    """

    plugin: str
    needs: tuple[str, ...]
    pythons: SpecifierSet
    indexes: tuple[Trusted, ...]
    held: str = ""
    same: bool = False
    anew: bool = False


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
    from dataflare_worker.installing import find_uv

    who = f"`{order.plugin}` needs" if order.plugin else "the plugins need that run in the host's process"
    uv = find_uv()
    if uv is None:
        message = f"what {who} cannot be locked: uv is not here"
        raise ConfigError.of("lock.no_uv", message, cause=", ".join(order.needs), fix="install `uv`")
    target = folder / Path(file_of(order.plugin)).name
    words = [uv, "pip", "compile", "--output-file", str(target), *_demands(order, folder)]
    words += ["--format", "pylock.toml", "--universal", "--no-header", "--no-annotate", "--no-build", "--quiet"]
    words += ["--python", sys.executable, "--python-version", _lowest(order.pythons)]
    variables = _variables(order, folder / "ours")
    for kept in (former, None):
        if kept is not None:
            target.write_bytes(kept)  # what is in it stays while it fits
        else:
            target.unlink(missing_ok=True)
        done = subprocess.run(words, cwd=project, env=variables, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode == 0:
            content = target.read_bytes()
            _check_indexes(content, order)
            return content
    said = done.stderr.strip().replace(str(folder), "")[-4000:]
    refusal = NoSolution if done.returncode == 1 else ConfigError
    raise refusal.of(
        "lock.python",
        f"what {who} does not go together" if done.returncode == 1 else f"what {who} cannot be locked",
        cause=f"{order.plugin or 'inline'}: {said}",
        fix="mend the plugin's dependencies, or the settings of uv (index, find-links, network)",
        details={"core": {order.plugin: ", ".join(order.needs)}, "chains": [], "fixes": []},
    )


def _demands(order: Order, folder: Path) -> list[str]:
    """The part of uv's command that says what is wanted; what the host lends is within its bounds, and left out."""
    hosts, needs, bounds = _of_host(), folder / "needs.txt", folder / "bounds.txt"
    needs.write_text("".join(f"{each}\n" for each in order.needs), "utf-8")
    bounds.write_text("".join(f"{each}\n" for each in _bounds(hosts, inline=not order.plugin)), "utf-8")
    (folder / "ours").mkdir()
    _stand_for(hosts, folder / "ours")
    left_out = [word for each in hosts for word in ("--no-emit-package", each.metadata["Name"])]
    return [str(needs), "--constraint", str(bounds), *left_out]


def _check_indexes(content: bytes, order: Order) -> None:
    """Of a trusted index only what its keepers signed is taken: its pages for uv prove nothing by themselves."""
    for package in tomllib.loads(content.decode())["packages"]:
        for wheel in package.get("wheels", ()):
            place = wheel.get("url", "")
            index = next((one for one in order.indexes if place.startswith(one.address())), None)
            if index is None or index.vouches(package["name"], place.rpartition("/")[2], wheel["hashes"]["sha256"]):
                continue
            raise NotTrusted.of(
                "index.not_trusted",
                f"`{index.name}` shows a wheel that its keepers did not sign: {place.rpartition('/')[2]}",
                fix="what is installed stays; ask who keeps the index",
                details={"attack": "arbitrary_content"},
            )


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


def _variables(order: Order, links: Path) -> dict[str, str]:
    """The variables of this process, with the places that uv looks into first; options would take theirs away."""
    from dataflare_worker.installing import with_links

    known = with_links(links)
    places = [*(f"{index.address()}simple/" for index in order.indexes), *filter(None, [known.get("UV_INDEX")])]
    kept = {name: value for name, value in known.items() if name not in ("VIRTUAL_ENV", "UV_PYTHON")}
    return {**kept, "UV_INDEX": " ".join(places)} if places else kept
