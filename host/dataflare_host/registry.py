"""The component factories of a host: immutable tables with a generation number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.declare import did_you_mean, nearest, normalise
from dataflare.errors import ConfigError, Problem
from dataflare.loading import classes_of_file, load_file
from dataflare_host.discover import Catalogue, Faulty
from dataflare_host.load import Contributions, class_at, object_at, preset
from dataflare_host.manifest import Manifest
from dataflare_host.unverified import problem_of

if TYPE_CHECKING:
    from dataflare.component import Component

KINDS: Mapping[str, str] = {
    kind: f"{module}:{kind.title()}"
    for module, kinds in {
        "dataflare.component": "source processor sink tool command codec notifier secrets keyring",
        "dataflare.store": "store layer",
        "dataflare_host.kinds": "planner engine mode loader broker service",
    }.items()
    for kind in kinds.split()
}
"""The kinds that need no plugin, and their base classes."""
_FILE = re.compile(r"(?P<file>.+\.py)/(?P<name>[^/]+)")


@dataclass(frozen=True)
class Entry:
    """One component that can be had: where it is, known without loading it."""

    plugin: str
    version: str
    kind: str
    name: str
    loading: Callable[[], type[Component]] = field(repr=False, compare=False)
    summary: str = ""
    file: Path | None = None
    """The bare file that defines it."""

    @property
    def uses(self) -> str:
        """How a flow names it: ``plugin/name``."""
        return f"{self.plugin}/{self.name}"

    def load(self) -> type[Component]:
        """Its class; imports the plugin's code. Raises ConfigError (``plugin.load_failed``)."""
        return self.loading()


@dataclass(frozen=True, eq=False)
class Table:
    """The components of one generation of plugins. Never changes: a reload makes the next table."""

    generation: int
    plugins: Mapping[str, Manifest]
    faulty: tuple[Faulty, ...] = ()
    contributions: Contributions = field(default_factory=lambda: Contributions(lambda _: (), lambda _: ()), repr=False)

    def find(self, kind: str, uses: str, base: Path | None = None) -> Entry:
        """The component that ``uses`` names: ``plugin/name``, ``./file.py/name``, ``plugin`` where both have one name.

        Relative files start at ``base``. Raises ConfigError (``flow.unknown_component``, ``plugin.…``).
        """
        bare = _FILE.fullmatch(uses)
        if bare is not None:
            return self._in_file(kind, bare["file"], normalise(bare["name"]), base)
        if uses.startswith("python:"):
            return self._in_process(kind, uses)
        given, slash, name = uses.partition("/")
        plugin = normalise(given)
        name = normalise(name) if slash else plugin
        if plugin not in self.plugins:
            raise ConfigError(self._no_plugin(plugin, kind, uses))
        manifest = self.plugins[plugin]
        entries = {entry.name: entry for entry in self._listed(manifest, kind, loading=False)}
        if name not in entries and _more(manifest):
            entries = {entry.name: entry for entry in self._listed(manifest, kind)}
        found = entries.get(name) or _aliased(entries.values(), name)
        if found is None:
            have = {(entry.kind, entry.name) for entry in self._listed(manifest)}
            raise ConfigError(_no_component(manifest.id, kind, name, have))
        return found

    def entries(self, kind: str | None = None, *, loading: bool = True) -> list[Entry]:
        """The components, by plugin and name. Not ``loading``: only those that manifests tell of, nothing is imported.

        A plugin whose code cannot be loaded is left out.
        """
        found: list[Entry] = []
        for manifest in self.plugins.values():
            try:
                found += self._listed(manifest, kind, loading)
            except ConfigError:
                found += self._listed(manifest, kind, loading=False)
        return sorted(found, key=lambda entry: (entry.kind, entry.uses))

    def kinds(self) -> dict[str, str]:
        """Kind → its base class as ``module:object``."""
        return {**KINDS, **{kind: base for manifest in self.plugins.values() for kind, base in manifest.kinds.items()}}

    def base(self, kind: str) -> type[Component]:
        """The base class of a kind; imports it. Raises ConfigError ``plugin.unknown_kind``."""
        target, owners = self.kinds().get(kind), [m for m in self.plugins.values() if kind in m.kinds]
        if target is None:
            fix = _known(kind, self.kinds())
            raise ConfigError.of("plugin.unknown_kind", f"no plugin makes the kind `{kind}`", fix=fix)
        host = Manifest("host", "", "", "python", __file__)
        return object_at(target, owners[0] if owners else host)  # type: ignore[no-any-return]

    def problems(self) -> list[Problem]:
        """What is wrong with the installed plugins: the faulty ones, and components of kinds that nobody makes."""
        found = [problem for each in self.faulty for problem in each.problems]
        kinds = self.kinds()
        for manifest in self.plugins.values():
            for kind in {*(manifest.components or {}), *manifest.summaries}:
                if kind not in kinds:
                    message = f"`{manifest.id}` has components of the unknown kind `{kind}`"
                    problem = Problem("plugin.unknown_kind", message, file=manifest.file, fix=_known(kind, kinds))
                    found.append(problem.at(pointer=f"/components/{kind}"))
        return found

    def swap(self, manifests: Iterable[Manifest], faulty: tuple[Faulty, ...] | None = None) -> Table:
        """The next generation: these plugins take the place of those with the same ids, or come new."""
        given = {manifest.id: manifest for manifest in manifests}
        plugins = {**self.plugins, **given}
        changed = [id for id, manifest in given.items() if manifest != self.plugins.get(id)]
        return replace(
            self,
            generation=self.generation + 1,
            plugins=plugins,
            faulty=self.faulty if faulty is None else faulty,
            contributions=self.contributions.without(changed),
        )

    def _listed(self, manifest: Manifest, kind: str | None = None, loading: bool = True) -> list[Entry]:
        """A plugin's components (of one kind): those of its table and, where ``loading``, those its code tells of."""
        told = {(own, name) for own, named in (manifest.components or {}).items() for name in named}
        loaders = {key: self._loading(manifest, *key) for key in told if kind in (None, key[0])}
        summaries = {key: manifest.summaries.get(key[0], {}).get(key[1], "") for key in loaders}
        if loading and _more(manifest):
            for key, made in self.contributions.of(manifest).items():
                if kind in (None, key[0]) and key not in told:
                    loaders[key] = partial(_itself, made)
                    summaries[key] = made.spec.summary
        return [Entry(manifest.id, manifest.version, *key, load, summaries[key]) for key, load in loaders.items()]

    def _loading(self, manifest: Manifest, kind: str, name: str) -> Callable[[], type[Component]]:
        def load() -> type[Component]:
            target = (manifest.components or {})[kind][name]
            if manifest.loader == "python":
                return class_at(target, manifest, kind)
            if manifest.runtime == "declarative":
                if manifest.unverified:  # it would have others' code do what it likes
                    raise ConfigError(problem_of(manifest))
                return preset(self.find(kind, target["uses"]).load(), name, target.get("with", {}))
            made = self.contributions.of(manifest).get((kind, name))
            if made is None:
                problem = f"the loader of `{manifest.loader}` found no {kind} `{name}` in the plugin `{manifest.id}`"
                raise ConfigError.of("plugin.load_failed", problem, file=manifest.file)
            return made

        return load

    def _in_process(self, kind: str, uses: str) -> Entry:
        """A component that this process was given as an object."""
        from dataflare.local import recall

        found = recall(uses)
        if found is None or found.kind != kind:
            what = "is not known in this process" if found is None else f"is a {found.kind}, not a {kind}"
            raise ConfigError.of("flow.unknown_component", f"`{uses}` {what}", fix="give the flow the object itself")
        return Entry("python", "", kind, found.spec.name, partial(_itself, found), found.spec.summary)

    def _in_file(self, kind: str, given: str, name: str, base: Path | None) -> Entry:
        path = (base or Path()) / given
        classes = classes_of_file(path)
        of_kind = [made for (own, _), made in classes.items() if own == kind]
        found = next((made for made in of_kind if name in (made.spec.name, *made.spec.aliases)), None)
        if found is None:
            raise ConfigError(_no_component(given, kind, name, classes))
        version = str(load_file(path).__dict__["__version__"])
        return Entry(given, version, kind, found.spec.name, partial(_itself, found), found.spec.summary, path.resolve())

    def _no_plugin(self, plugin: str, kind: str, uses: str) -> Problem:
        for each in self.faulty:
            if each.id == plugin:
                first = each.problems[0]
                message = f"the plugin `{plugin}` is installed, but cannot be used"
                return Problem("flow.unknown_component", message, cause=f"{first.code}: {first.message}", fix=first.fix)
        near = nearest(uses, [entry.uses for entry in self.entries(kind, loading=False)])
        install = f"install `dataflare-{plugin}`, or see `dataflare plugin list`"
        fix = f"did you mean `{near}`?" if near else did_you_mean(plugin, self.plugins, install)
        return Problem("flow.unknown_component", f"no plugin `{plugin}` is installed here", fix=fix)


def table_of(catalogue: Catalogue, contributions: Contributions) -> Table:
    """The first generation. Plugins that claim a kind which another one has are set aside as faulty."""
    makers = {kind: ["the host"] for kind in KINDS}
    for id, manifest in catalogue.plugins.items():
        for kind in manifest.kinds:
            makers.setdefault(kind, []).append(f"`{id}`")
    plugins, faulty = dict(catalogue.plugins), list(catalogue.faulty)
    for id, manifest in catalogue.plugins.items():
        problems = tuple(
            Problem(
                "plugin.kind_conflict",
                f"the kind `{kind}` is made by {' and '.join(makers[kind])}",
                file=manifest.file,
                pointer=f"/kinds/{kind}",
                fix="give it another name, or uninstall one of them",
            )
            for kind in manifest.kinds
            if len(makers[kind]) > 1
        )
        if problems:
            del plugins[id]
            faulty.append(Faulty(id, "", manifest.version, problems))
    return Table(1, plugins, tuple(sorted(faulty, key=lambda each: each.id)), contributions)


def _more(manifest: Manifest) -> bool:
    """Can only its code or its loader tell all that it contributes?"""
    return manifest.components is None or "components" in manifest.hooks


def _itself(made: type[Component]) -> type[Component]:
    return made


def _aliased(entries: Iterable[Entry], name: str) -> Entry | None:
    """The component that has ``name`` as an alias: only its code tells."""
    for entry in entries:
        try:
            if name in entry.load().spec.aliases:
                return entry
        except ConfigError:
            continue
    return None


def _no_component(where: str, kind: str, name: str, have: Iterable[tuple[str, str]]) -> Problem:
    """A plugin or file has no such component; ``have`` are the kinds and names it has."""
    others = sorted(own for own, other in have if other == name)
    names = sorted(f"{where}/{other}" for own, other in have if own == kind)
    if others:
        message = f"`{where}/{name}` is a {' and a '.join(others)}, not a {kind}"
    else:
        message = f"`{where}` has no {kind} `{name}`"
    listed = ", ".join(f"`{each}`" for each in names) or "none"
    all_of_them = f"its {kind} components: {listed}"
    fix = all_of_them if others else did_you_mean(f"{where}/{name}", names, all_of_them)
    return Problem("flow.unknown_component", message, fix=fix)


def _known(kind: str, kinds: Iterable[str]) -> str:
    return did_you_mean(kind, kinds, f"known kinds: {', '.join(sorted(kinds))}")
