"""The manifest names every component by the kind and name that the code gives it."""

from __future__ import annotations

import tomllib
from importlib import import_module
from importlib.resources import files
from typing import Any

import pytest

from dataflare.config import json_schema
from dataflare.declare import component_class

MANIFEST = tomllib.loads((files("dataflare_std") / "dataflare.toml").read_text())
TABLE = [(kind, name, at) for kind, entries in MANIFEST["components"].items() for name, at in entries.items()]


@pytest.mark.parametrize(("kind", "name", "at"), TABLE)
def test_the_table_fits_the_code(kind: str, name: str, at: str) -> None:
    module, _, thing = at.partition(":")
    component: Any = component_class(getattr(import_module(module), thing))
    assert component is not None
    assert (component.spec.kind, component.spec.name) == (kind, name)
    assert component.spec.summary.endswith(".")
    assert json_schema(component)["type"] == "object"
