"""The host of one process: it finds the plugins, makes components, plans flows, and asks before it changes anything."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dataflare.errors import ConfigError, DataflareError, PermissionDenied, Problem
from dataflare_host.discover import Catalogue, discover
from dataflare_host.events import Events, Record, now
from dataflare_host.hooks import Hooks
from dataflare_host.host import Event, FlowStatus, Principal
from dataflare_host.load import Contributions
from dataflare_host.manifest import VERSION, Manifest
from dataflare_host.registry import Table, table_of
from dataflare_host.secrets import resolve, with_secrets
from dataflare_host.sets import PluginSet, read_set, stamp_of, unpacked, usable
from dataflare_host.unverified import bounded, guests_of, named_with_needs, outside, problem_of

if TYPE_CHECKING:
    from dataflare.component import Component, Secrets
    from dataflare.grants import Grants
    from dataflare.store import Store
    from dataflare_host.control import Line
    from dataflare_host.kinds import Broker, Loader, Planner
    from dataflare_host.plan import Plan

T = TypeVar("T")
_log = logging.getLogger("dataflare.host")


class Host:
    """HostApi for this process: ``Host.start`` makes it, ``stop`` or the end of a ``with`` ends it. Thread-safe."""

    def __init__(self, catalogue: Catalogue, principal: Principal, ceiling: Grants | None = None) -> None:
        self.principal = principal
        self.version = VERSION
        self._strangers = {id: catalogue.plugins[id] for id in catalogue.strangers}
        usable = {id: bounded(each) if id in self._strangers else each for id, each in catalogue.plugins.items()}
        table = table_of(replace(catalogue, plugins=usable), Contributions(self._dynamic, self._guests))
        self.hooks = Hooks(table.plugins.values())
        self._tables = [table]
        self._named: tuple[str, ...] | None = None
        self._set = PluginSet()
        self._sets: dict[Path, Any] = {}
        self._warned: set[str] = set()
        self._vouched: dict[Path, PluginSet] = {}
        self._loaders: dict[str, Loader] = {}
        self._ceiling = ceiling
        self._lock = threading.RLock()
        self._events = Events((lambda event: self.hooks.call("event", event=event)) if "event" in self.hooks else None)

    @classmethod
    def start(
        cls, plugins: Iterable[str] | None = None, *, principal: Principal | None = None, ceiling: Grants | None = None
    ) -> Host:
        """A host with the plugins of this interpreter, or only with those that ``plugins`` names.

        ``principal`` is who asks (else the local user), ``ceiling`` bounds what plugins may do (None: no bound). A
        plugin that cannot be used never stops the host: it is in ``table().faulty``.
        """
        named = None if plugins is None else tuple(sorted(plugins))
        host = cls(discover(named), principal or local_principal(), ceiling)
        host._named = named
        host.hooks.historic("host_started", host=host)
        return host

    @classmethod
    def like(cls, settings: Mapping[str, Any]) -> Host:
        """A host as another process has it, which told its ``settings``. Raises ConfigError (``set.…``)."""
        principal = Principal(**{**settings["principal"], "roles": tuple(settings["principal"]["roles"])})
        host = cls.start(settings["plugins"], principal=principal, ceiling=settings["ceiling"])
        for folder in settings["folders"]:
            host.enter(Path(folder))
        return host

    def settings(self) -> dict[str, Any]:
        """What another process needs to have the same host, as JSON."""
        folders = [str(folder) for folder in self._sets]
        principal = asdict(self.principal)
        return {"plugins": self._named, "principal": principal, "ceiling": self._ceiling, "folders": folders}

    def stop(self, reason: str = "done") -> None:
        """Tell the plugins that the host stops, and the last events."""
        self.hooks.call("host_stopping", host=self, reason=reason)
        self._events.close()
        for loader in self._loaders.values():
            loader.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stop("failed" if error else "done")

    def table(self, generation: int | None = None) -> Table:
        """The components of a generation (None: the newest). Raises ConfigError ``plugin.unknown_generation``."""
        if generation is None:
            return self._tables[-1]
        if not 1 <= generation <= len(self._tables):
            message = f"there is no generation {generation}; the newest is {len(self._tables)}"
            raise ConfigError.of("plugin.unknown_generation", message)
        return self._tables[generation - 1]

    def swap(self, manifests: Iterable[Manifest]) -> Table:
        """The next generation, with these plugins in place of those of the same ids."""
        manifests = list(manifests)

        def change() -> Table:
            with self._lock:
                self._tables.append(self.table().swap(manifests))
                self.hooks.update(self.table().plugins.values())
                return self.table()

        return self.change("plugin.swap", ",".join(manifest.id for manifest in manifests), change)

    def enter(self, folder: Path) -> None:
        """Use the plugin set of a folder of flows beside what is installed, once it has one or it has changed.

        Raises ConfigError (``set.…``); a plugin of the set that cannot be used is in ``table().faulty``.
        """
        folder = folder.absolute()
        with self._lock:
            stamp = stamp_of(folder)
            if stamp == self._sets.get(folder):
                return
            members = read_set(folder)
            manifests, faulty = usable(members, self.table())
            self._set = self._set.beside(members)
            self._vouched[folder] = members
            manifests += self._strangers_now()
            self._tables.append(self.table().swap(manifests, faulty))
            self.hooks.update(self.table().plugins.values())
            self._sets[folder] = stamp

    def _warn_of(self, manifest: Manifest) -> None:
        if manifest.unverified and manifest.id not in self._warned:
            self._warned.add(manifest.id)
            _log.warning("%s", problem_of(manifest).message)

    def _strangers_now(self) -> list[Manifest]:
        """What nobody vouched for at the start, as far as the sets vouch for it that were entered."""
        sets = self._vouched.values()
        known = {**self.table().plugins, **self._strangers}
        named = named_with_needs({id for each in sets for id in each.named}, known)
        inline = {id for each in sets for id in each.inline}
        usual = [(id, each) for id, each in self._strangers.items() if id not in self._set.plugins]
        return [each if id in inline else outside(each) if id in named else bounded(each) for id, each in usual]

    def former(self, plugin: str, version: str) -> int | None:
        """A generation with another version of a plugin, where that is unpacked yet; the newest stays as it is."""
        with self._lock:
            newest, member = self.table(), self._set.plugins.get(plugin)
            known = (table for table in self._tables if plugin in table.plugins)
            if found := next((table for table in known if table.plugins[plugin].version == version), None):
                return found.generation
            package = None if member is None else unpacked(member.folder, version)
            if member is None or package is None or member.isolation == "inline":
                return None
            former = newest.swap([replace(member, folder=package).manifest()])
            self._tables += [former, replace(newest, generation=former.generation + 1)]
            return former.generation

    def retire(self, generation: int) -> None:
        """Nobody uses the components of a generation any more: end the guests that no newer one has."""
        if generation < self.table().generation:
            self.table(generation).contributions.end(self.table().contributions)

    def plan(self, flow: Path | Mapping[str, Any], **options: Any) -> Plan:
        """Plan a flow file or a flow as a mapping. Raises ConfigError with every problem."""
        return self.planner().plan(flow, self, **options)

    def planner(self) -> Planner:
        """The planner of the plugin set. Raises ConfigError ``plan.no_planner``."""
        if (given := self.defaults().get("planner")) is None:
            fix = "install a plugin with `planner` in its [defaults]"
            raise ConfigError.of("plan.no_planner", "no plugin names a planner, which flows are read with", fix=fix)
        return cast("Planner", self.component(given["uses"], given["with"], "planner"))

    def check_plan(self, plan: Plan) -> list[Problem]:
        """What the plugins' ``check_plan`` hooks have against a plan; one that failed refuses too."""
        return self._problems("check_plan", plan=plan, principal=self.principal)

    def component(
        self,
        uses: str,
        config: Mapping[str, Any],
        kind: str,
        base: Path | None = None,
        generation: int | None = None,
    ) -> Component:
        """A configured instance of a component; ``./file.py/name`` starts at ``base``. Secrets are put in their place.

        Raises ConfigError.
        """
        entry = self.table(generation).find(kind, uses, base)
        made = entry.load()
        if entry.plugin in self._strangers:
            self._warn_of(self.table(generation).plugins[entry.plugin])
        if made.spec.deprecated:
            _log.warning("`%s` is deprecated: %s", uses, made.spec.deprecated)
        component = made(**with_secrets(config, lambda name: self.secret(name, entry.uses)))
        self._bind(component, base)
        return component

    def store(self, state: Mapping[str, Any], base: Path | None = None) -> Store:
        """The store of ``{"uses", "with", "layers"}``, its layers over it; not open yet. Raises ConfigError."""
        below = {"uses": state["uses"], "with": state.get("with") or {}}
        if not state.get("layers"):
            return cast("Store", self.component(below["uses"], below["with"], "store", base))
        if (given := self.defaults().get("layers")) is None:
            message, fix = "no plugin puts layers over a store", "install one with `layers` in its [defaults]"
            raise ConfigError.of("plan.no_layers", message, pointer="/state/layers", fix=fix)
        config = {**given.get("with", {}), "store": below, "layers": state["layers"]}
        return cast("Store", self.component(given["uses"], config, "store", base))

    def step(self, plan: Plan, step: str, generation: int | None = None) -> Component:
        """A configured instance for a step of a plan, secrets in their place. Raises ConfigError, PermissionDenied."""
        planned = plan.steps[step]
        config = with_secrets(planned.config, lambda name: self.secret(name, step))
        base = Path(plan.base) if plan.base else None
        return self.component(planned.uses, config, planned.kind, base, generation)

    def defaults(self) -> dict[str, Mapping[str, Any]]:
        """The planner, the secret store, and a flow's engine, mode and state if it names none: ``{"uses", "with"}``.

        Empty where no plugin says so. Raises ConfigError ``plugin.defaults_conflict`` where two say the same word.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for id, manifest in self.table().plugins.items():
            for word, given in manifest.defaults.items():
                if word in found:
                    others = [f"`{other}`" for other, own in self.table().plugins.items() if word in own.defaults]
                    message = f"several plugins say the default {word}: {', '.join(others)}"
                    fix = f"uninstall all but one, or start the host with a plugin set without `{id}`"
                    raise ConfigError.of("plugin.defaults_conflict", message, fix=fix)
                found[word] = given
        return found

    def default(self, word: str, flow: str) -> dict[str, Any] | None:
        """One of ``defaults`` for a flow, its name in place of ``{flow}``; None where no plugin says it."""

        def filled(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {key: filled(item) for key, item in value.items()}
            return value.replace("{flow}", flow) if isinstance(value, str) else value

        given: dict[str, Any] | None = filled(self.defaults().get(word))
        return given

    def grants(self, plugin: str, step: Grants | None = None) -> dict[str, list[dict[str, Any]]]:
        """What a plugin may do: what its manifest asks for, as far as its set grants and the host's ceiling allows.

        ``step`` is what a flow says of one step: it narrows the words that it names, and says what a manifest cannot. A
        bare file has no manifest and may do what the flow grants its step.
        """
        from dataflare.grants import effective

        manifest, member = self.table().plugins.get(plugin), self._set.plugins.get(plugin)
        asked: Grants = manifest.permissions if manifest else {word: [{}] for word in step or {}}
        granted = None if member is None else member.grants
        own: Grants = {**{word: [{}] for word in asked}, **(step or {})}
        return effective(asked, granted, own, self._ceiling)

    def limits(self, plugin: str) -> Mapping[str, Any]:
        """What the operator says of how much a plugin may use; a loader bounds its manifest's limits by it."""
        member = self._set.plugins.get(plugin)
        return {} if member is None else member.limits

    def secret(self, name: str, step: str) -> str:
        """A secret's value, for a step. Raises PermissionDenied, ConfigError ``secret.unknown``."""
        return self.change("secret.read", name, lambda: resolve(name, self._secret_store), {"step": step})

    def broker(self) -> Broker | None:
        """What reaches the outside for components, one for this process; None where no plugin brings it."""
        with self._lock:
            return self._broker

    def flows(self, folder: Path | None = None) -> list[FlowStatus]:
        """The flows of a folder (the current one) that run now."""
        from dataflare_host.control import flows_in

        return [
            FlowStatus(str(hello["flow"]), actual="running", pid=hello.get("pid"), details=hello)
            for hello in flows_in(folder or Path())
        ]

    @contextmanager
    def runner(self, file: Path) -> Iterator[Line]:
        """A line to the runner of a flow file. Raises ConfigError ``run.not_running``, or what is wrong with the file.

        A flow whose file was broken while it runs is found too, where no other flow of its folder runs.
        """
        from dataflare_host.control import connected, flows_in

        folder = file.absolute().parent
        try:
            head = self.planner().head(file)
            if head.problems:
                raise ConfigError(*head.problems)
            name = head.name
        except ConfigError:
            alive = flows_in(folder) if file.exists() else []
            if len(alive) != 1:
                raise
            name = str(alive[0]["flow"])
        with connected(folder, name) as line:
            yield line

    def command(self, flow: str, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """A command to the running flow of a flow file. Raises PermissionDenied, ConfigError ``run.not_running``."""
        with self.runner(Path(flow)) as line:
            if name == "status":
                return line.ask(name, args)
            return self.change(f"flow.{name}", flow, lambda: line.ask(name, args), args)

    def emit(self, event: Event) -> None:
        """Tell an event to everybody who listens."""
        self._events.emit(event)

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events after a sequence number that are kept now."""
        return self._events.after(after)

    def health(self) -> dict[str, tuple[bool, str]]:
        """Plugin → is what it looks after well, and why (not)."""
        return {
            answer.plugin: (False, answer.problem.message) if answer.problem else answer.value
            for answer in self.hooks.call("health", host=self)
        }

    def doctor(self) -> list[Problem]:
        """What is wrong with the plugins, and what their ``doctor`` hooks found."""
        return [*self.table().problems(), *self._problems("doctor", host=self)]

    def authorize(self, action: str, target: str) -> None:
        """May the principal do this? Raises PermissionDenied; where no plugin decides, only the local owner may."""
        answer = self.hooks.first("authorize", principal=self.principal, action=action, target=target)
        allowed = _is_owner(self.principal) if answer is None else answer.value is True
        if not allowed:
            cause = None
            if answer is not None:
                cause = answer.problem.message if answer.problem else f"decided by `{answer.plugin}`"
            message = f"`{self.principal.name}` may not do `{action}` to `{target}`"
            raise PermissionDenied.of("permission.denied", message, cause=cause, fix=f"ask for the right `{action}`")

    def change(self, action: str, target: str, work: Callable[[], T], details: Mapping[str, Any] | None = None) -> T:
        """Do something that needs a right: authorised first, audited before and after. Raises PermissionDenied."""
        self.authorize(action, target)
        before = Record("before", self.principal, action, target, details=details or {})
        faults = [answer.problem for answer in self.hooks.call("audit", record=before) if answer.problem]
        if faults:
            message, fault = f"`{action}` was not done: it cannot be recorded", faults[0]
            raise PermissionDenied.of("permission.not_audited", message, cause=fault.message, fix=fault.fix)
        result = "failed"
        try:
            answer = work()
            result = "done"
            return answer
        except DataflareError as error:
            result = error.code
            raise
        finally:
            self.hooks.call("audit", record=replace(before, phase="after", result=result, at=now()))

    def _problems(self, hook: str, **given: Any) -> list[Problem]:
        found: list[Problem] = []
        for answer in self.hooks.call(hook, **given):
            found += [answer.problem] if answer.problem else answer.value
        return found

    def _dynamic(self, manifest: Manifest) -> Iterable[Any]:
        return self.hooks.of_plugin(manifest, "components") or ()

    def _guests(self, manifest: Manifest) -> Iterable[type[Component]]:
        """The component classes of a plugin that is not Python, by the loader of its runtime."""
        name = manifest.loader
        if name not in self._loaders:
            found = [entry for entry in self.table().entries("loader", loading=False) if entry.name == name]
            if not found:
                message = f"no plugin loads `{name}`, the runtime of `{manifest.id}`"
                fix = f"install a plugin with the loader `{name}`"
                raise ConfigError.of("plugin.no_loader", message, fix=fix, file=manifest.file, pointer="/runtime/kind")
            made = self.component(found[0].uses, self._set.loaders.get(name, {}), "loader")
            self._loaders[name] = cast("Loader", made)
        return guests_of(manifest, self._loaders[name].components(manifest, self))

    @cached_property
    def _secret_store(self) -> Secrets | None:
        """The secret store that the plugin set names."""
        given = self.defaults().get("secrets")
        return cast("Secrets", self.component(given["uses"], given["with"], "secrets")) if given else None

    @cached_property
    def _broker(self) -> Broker | None:
        if (given := self.defaults().get("broker")) is None:
            return None
        config = {**given.get("with", {}), **self._set.broker}
        return cast("Broker", self.component(given["uses"], config, "broker"))

    def _bind(self, component: Component, base: Path | None) -> None:
        """Put the components that the configuration uses in their place."""
        from dataflare.types import Uses

        for value in vars(component).values():
            for given in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(given, Uses) and given.bound is None:
                    given.bind(self.component(given.uses, given.config, given.kind, base))


def local_principal() -> Principal:
    """The user of this process."""
    uid = os.getuid() if hasattr(os, "getuid") else None
    return Principal(os.environ.get("USER") or os.environ.get("USERNAME") or f"uid {uid}", uid)


def _is_owner(principal: Principal) -> bool:
    return "owner" in principal.roles and principal.uid == local_principal().uid
