"""What a worker plugin says of itself: as its build left it, but for what its environment decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dataflare import ConfigError
from dataflare.guest import MINORS
from dataflare.hosting import Guests
from dataflare_host.manifest import Manifest
from dataflare_worker.loader import described


def told(folder: Path, text: str) -> dict[str, Any]:
    (folder / "components.json").write_text(text, "utf-8")
    manifest = Manifest("acme", "1.0.0", "A plugin of a test.", "python", str(folder / "dataflare.toml"))
    return described(manifest, Guests(never))


def never() -> Any:
    raise AssertionError("its guest was started")


@pytest.mark.parametrize("api", [None, ["1.0"], ["1.0", "1.1", "1.2"]])
def test_it_speaks_the_contract_as_the_sdk_does_that_the_host_lends(tmp_path: Path, api: Any) -> None:
    built = {"protocol": 1, "components": [], **({} if api is None else {"api": api})}
    assert told(tmp_path, json.dumps(built)) == {**built, "api": list(MINORS)}


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_what_is_no_description_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        told(tmp_path, text)
    assert refused.value.code == "plugin.load_failed"
