"""Values of secrets: from the `secrets` component of the plugin set, else from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    from dataflare.component import Secrets

PREFIX = "DATAFLARE_SECRET_"


def variable(name: str) -> str:
    """The environment variable of a secret: ``shop-token`` is read from ``DATAFLARE_SECRET_SHOP_TOKEN``."""
    return PREFIX + re.sub(r"\W", "_", name).upper()


def resolve(name: str, store: Secrets | None) -> str:
    """The value of a secret. Raises ConfigError ``secret.unknown``, ``secret.unreadable``; no message holds a value."""
    if store is not None:
        try:
            return store.get(name)[0]
        except KeyError:
            pass
        except Exception as error:
            message = f"the secret `{name}` cannot be read from `{store.spec.name}`"
            fix = "see whether the secret store is there and lets you in"
            raise ConfigError.of("secret.unreadable", message, cause=type(error).__name__, fix=fix) from None
    value = os.environ.get(variable(name))
    if value is None:
        raise ConfigError.of("secret.unknown", f"the secret `{name}` has no value here", fix=f"set {variable(name)}")
    return value


def with_secrets(value: Any, get: Callable[[str], str]) -> Any:
    """JSON with a Secret, whose value ``get`` gives, wherever a text is its reference ``${secret:NAME}``."""
    if isinstance(value, Mapping):
        return {key: with_secrets(item, get) for key, item in value.items()}
    if isinstance(value, list):
        return [with_secrets(item, get) for item in value]
    if not isinstance(value, str) or not value.startswith("${secret:"):
        return value
    from dataflare.types import Secret

    name = Secret(value).reference
    return value if name is None else Secret(get(name), reference=name)
