"""The parts of a component's Context that refuse what its grants do not allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflare.context import NotGranted
from dataflare.errors import PermissionDenied
from dataflare.grants import Grants, allows

if TYPE_CHECKING:
    from dataflare_host.host import HostApi
    from dataflare_host.plan import StepPlan

SCOPES = {
    "flows": "flow:read",
    "events": "flow:read",
    "table": "plugin:read",
    "plan": "plan",
    "component": "component",
    "command": "flow:command",
    "emit": "event:write",
}
"""What a component with the permission ``host`` can be let do: method of the HostApi → scope."""


def services(step: StepPlan, host: HostApi) -> dict[str, Any]:
    """The parts of a step's Context that refuse what is not granted: ``http``, ``secrets``, ``host``."""
    return {
        "http": _NoBroker() if step.grants.get("http") else NotGranted("http"),
        "secrets": GrantedSecrets(host, step.name, step.grants),
        "host": GrantedHost(host, step.grants) if step.grants.get("host") else NotGranted("host"),
    }


@dataclass(frozen=True)
class GrantedSecrets:
    """``ctx.secrets``: those that the grants name."""

    host: HostApi
    step: str
    grants: Grants

    def get(self, name: str) -> str:
        """The value. Raises PermissionDenied, ConfigError ``secret.unknown``."""
        if not allows(self.grants, "secrets", name=name):
            raise PermissionDenied.of(
                "permission.denied",
                f"the secret `{name}` is not granted to `{self.step}`",
                fix=f"give it by configuration (`${{secret:{name}}}`), or name it in the manifest's [permissions]",
            )
        return self.host.secret(name, self.step)


class GrantedHost:
    """``ctx.host``: the methods of the HostApi whose scopes are granted."""

    def __init__(self, host: HostApi, grants: Grants) -> None:
        self._host = host
        self._grants = grants

    def __getattr__(self, name: str) -> Any:
        scope = SCOPES.get(name)
        if scope is None or not allows(self._grants, "host", scope=scope):
            raise PermissionDenied.of(
                "permission.denied",
                f"`host.{name}` is not granted to this component",
                fix=f'add `host = [{{ scope = "{scope}", … }}]` to the manifest\'s [permissions]' if scope else None,
            )
        return getattr(self._host, name)


class _NoBroker:
    """Stands for the HTTP broker where it is granted, but nothing brings one."""

    def __getattr__(self, name: str) -> Any:
        raise PermissionDenied.of(
            "permission.no_broker",
            "no installed plugin brings an HTTP broker",
            fix="install one, or use a client of your own",
        )
