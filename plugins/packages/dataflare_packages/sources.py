"""Where the plugins of a project come from: the indexes that it trusts, files that were added, this interpreter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_packages.releases import API, FEATURE, HOST, PLATFORM, PYTHON, Here, Release
from dataflare_packages.resting import rest_of, too_fresh
from dataflare_packages.wishes import Wish
from dataflare_packages.withdrawn import harm_of

if TYPE_CHECKING:
    from datetime import timedelta

    from dataflare_host.host import HostApi
    from dataflare_host.manifest import Manifest
    from dataflare_index.catalogue import Listed
    from dataflare_index.trusted import Trusted

Json = Any


class Sources:
    """All that is known of plugins where a project stands. ``homes``: the index that a plugin was locked from."""

    def __init__(
        self,
        project: Path,
        wishes: Mapping[str, Wish],
        host: HostApi,
        homes: Mapping[str, str] = {},
        indexes: Iterable[Trusted] | None = None,
    ) -> None:
        if indexes is None:
            from dataflare_index.trusted import indexes_of

            indexes = indexes_of(project)
        self.indexes = {index.name: index for index in indexes}
        self._project = project
        self._wishes = wishes
        self._homes = homes
        self._own = {id: manifest for id, manifest in host.table().plugins.items() if not _of_set(manifest, project)}
        self._told: dict[str, tuple[str, Listed | None]] = {}
        self.rest = rest_of(project)
        self.passed_over: dict[str, list[str]] = {}
        """Plugin → releases that are not chosen by themselves, and why."""

    def releases(self, name: str) -> list[Release]:
        """The releases of a plugin; none where nobody has it. Raises NotTrusted."""
        wish = self._wishes.get(name)
        if wish is not None and wish.folder:
            return [_release_of(manifest_in(self._project / wish.folder))]
        if self.of_host(name):
            return [_release_of(self._own[name])]
        home, listed = self._found(name)
        if listed is None:
            return []
        found = []
        for version in listed.releases:
            release, why = _release(listed, version, self.rest, self.indexes[home])
            if why:
                self.passed_over.setdefault(name, []).append(f"`{name}` {version}: {why}")
            if release is not None:
                found.append(release)
        return found

    def home(self, name: str) -> str:
        """The index that a plugin comes from; empty where none has it. Raises NotTrusted ``index.two_indexes``."""
        return self._found(name)[0]

    def told(self, name: str) -> Mapping[str, Json]:
        """Version → what its index says of that release."""
        listed = self._found(name)[1]
        return listed.releases if listed else {}

    def listed(self, name: str) -> Listed | None:
        """All that its index says of a plugin."""
        return self._found(name)[1]

    def check(self, name: str, version: str) -> None:
        """Is a release signed by who is said to have published it? Raises NotTrusted ``index.publisher``."""
        home, listed = self._found(name)
        if listed is not None:
            self.indexes[home].check_publisher(listed, version)

    def distrusted(self, index: str, snapshot: int) -> bool:
        """Is nothing to be believed that was locked from a snapshot of an index? Raises NotTrusted."""
        return index in self.indexes and bool(self.indexes[index].revoked(snapshot))

    def needs(self, name: str, version: str) -> list[str]:
        """What the wheels of a release require of other distributions. Raises ConfigError, NotTrusted."""
        home, listed = self._found(name)
        files = sorted(listed.releases[version]["files"]) if listed else ()
        return sorted({need for file in files for need in self.indexes[home].needs(name, file)})

    def of_host(self, name: str) -> bool:
        """Is a plugin taken as it is in this interpreter: the set does not name it, or no index has it?"""
        return name in self._own and (name not in self._wishes or not self.home(name))

    def asks(self, name: str) -> dict[str, Json]:
        """The permissions of a plugin of this interpreter that nobody vouched for yet."""
        manifest = self._own[name]
        return dict(manifest_in(Path(manifest.file).parent).permissions) if manifest.unverified else {}

    def _found(self, name: str) -> tuple[str, Listed | None]:
        if name not in self._told:
            self._told[name] = self._look(name)
        return self._told[name]

    def _look(self, name: str) -> tuple[str, Listed | None]:
        wish = self._wishes.get(name)
        pinned = (wish.index if wish else "") or self._homes.get(name, "")
        if pinned and pinned not in self.indexes:
            message = f"`{name}` comes from the index `{pinned}`, which this project does not trust"
            fix = f"trust it by `dataflare index trust`, or take `index` out of `{name}` in the set"
            raise ConfigError.of("lock.no_index", message, fix=fix)
        from dataflare_index.trusted import holder_of

        try:
            index, listed = holder_of(self.indexes.values(), name, pinned)
        except ConfigError as error:
            if error.code != "index.unknown":
                raise
            return "", None
        return index.name, listed


def here(host: HostApi) -> Here:
    """What this host offers."""
    import platform

    from dataflare_host.manifest import CONTRACT
    from dataflare_host.read_manifest import FEATURES

    return Here(CONTRACT, host.version, platform.python_version(), frozenset(FEATURES))


def manifest_in(folder: Path) -> Manifest:
    """The manifest of a plugin that is unpacked. Raises ConfigError."""
    from dataflare_host.read_manifest import load_manifest

    return load_manifest(folder / "dataflare.toml", folder.name)


def file_for(files: Mapping[str, Json] | Iterable[str]) -> str | None:
    """The wheel among several that fits this interpreter best; None where none does."""
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    tagged = {}
    for name in files:
        try:
            tagged[name] = parse_wheel_filename(name)[3]
        except InvalidWheelFilename:
            continue
    plain = [name for name, tags in tagged.items() if any(str(tag) == "py3-none-any" for tag in tags)]
    if plain and len(tagged) == len(plain):
        return plain[0]
    for tag in sys_tags():
        for name, tags in tagged.items():
            if tag in tags:
                return name
    return None


def _release(listed: Listed, version: str, rest: timedelta, index: Trusted) -> tuple[Release | None, str]:
    """A release as an index tells of it, None where nobody should have it, and why it is not chosen by itself.

    Raises ConfigError ``lock.release`` for one that is told in a wrong way.
    """
    told = listed.releases[version]
    try:
        requires = dict(_requires(told))
        if harm := harm_of(listed, version):
            return None, harm.why
        fresh = too_fresh(told, rest, index)
    except (KeyError, TypeError, AttributeError) as error:
        message = f"what the index says of `{listed.name}` {version} cannot be understood"
        raise ConfigError.of("lock.release", message, cause=repr(error), fix="ask who keeps the index") from error
    return Release(listed.name, version, requires, told.get("yanked") or fresh), fresh or ""


def _requires(told: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    yield from told["dependencies"].items()
    yield from ((name, wanted) for name, wanted in ((API, told["api"]), (HOST, told["host"])) if wanted)
    yield from ((f"{FEATURE}{feature}", "") for feature in told["features"])
    files = told["files"]
    fits = file_for(files)
    if fits is None:
        tags = sorted({name.removesuffix(".whl").rpartition("-")[2] for name in files})
        yield f"{PLATFORM}{' or '.join(tags)}", ""
    elif python := files[fits].get("requires_python"):
        yield PYTHON, python


def _release_of(manifest: Manifest) -> Release:
    requires = dict(manifest.dependencies)
    requires |= {name: wanted for name, wanted in ((API, manifest.api), (HOST, manifest.host)) if wanted}
    requires |= {f"{FEATURE}{feature}": "" for feature in manifest.features}
    return Release(manifest.id, manifest.version, requires)


def _of_set(manifest: Manifest, project: Path) -> bool:
    return Path(manifest.file).is_relative_to(project.absolute() / ".dataflare")
