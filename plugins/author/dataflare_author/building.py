"""Builds a plugin's wheel from its folder."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare_author.components import TABLE, check_described, components_file, with_tables
from dataflare_author.folder import Folder
from dataflare_author.languages import builder_of
from dataflare_author.wheel import files_below, metadata_of, write_wheel
from dataflare_host.manifest import FILE

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

EXAMPLES = "verify.toml"
"""What the conformance kit tries the components on; it travels beside the manifest."""


@dataclass(frozen=True)
class Built:
    """A wheel, and what is in it: the components as ``kind plugin/name``."""

    wheel: Path
    components: tuple[str, ...]
    digest: str
    size: int


def build(folder: Folder, host: HostApi) -> Built:
    """Build the wheel of a plugin. Raises ConfigError, Failed: ``author.…``, and what the loader's audit refuses."""
    builder = builder_of(folder)
    builder.check(folder)
    stage = folder.stage
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    _copy_words(folder, stage)
    builder.compile(folder, stage)
    described = builder.describe(folder, stage)
    check_described(folder, described)
    (stage / TABLE).write_bytes(components_file(described))
    manifest = with_tables(folder.manifest_file.read_text("utf-8"), described)
    (stage / FILE).write_text(manifest, "utf-8")
    _audit(stage, host)
    return _packed(folder, stage, builder.metadata(folder))


def _copy_words(folder: Folder, stage: Path) -> None:
    """The examples, and the rows that they name."""
    file = folder.manifest_file.with_name(EXAMPLES)
    if not file.exists():
        return
    shutil.copy(file, stage / EXAMPLES)
    for rows in _texts(tomllib.loads(file.read_text("utf-8")), "rows"):
        source, target = (file.parent / rows).resolve(), (stage / rows).resolve()
        if source.is_file() and target.is_relative_to(stage.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _texts(value: Any, key: str) -> list[str]:
    """The texts under a key, however deep."""
    if isinstance(value, list):
        return [text for item in value for text in _texts(item, key)]
    if not isinstance(value, dict):
        return []
    own = [value[key]] if isinstance(value.get(key), str) else []
    return own + [text for item in value.values() for text in _texts(item, key)]


def _audit(stage: Path, host: HostApi) -> None:
    from dataflare_author.auditing import audit
    from dataflare_host.read_manifest import load_manifest

    audit(load_manifest(stage / FILE), host)


def _packed(folder: Folder, stage: Path, more: dict[str, Any]) -> Built:
    from dataflare_host.read_manifest import load_manifest

    manifest, names = load_manifest(stage / FILE), folder.names
    metadata = metadata_of(names, manifest.version, manifest.summary, manifest.license, **more)
    for former in folder.wheel.parent.glob(f"{names.package}-*.whl"):
        former.unlink()
    write_wheel(folder.wheel, names, manifest.version, metadata, files_below(stage, names.package))
    content = folder.wheel.read_bytes()
    told = [f"{kind} {manifest.id}/{name}" for kind, named in (manifest.components or {}).items() for name in named]
    return Built(folder.wheel, tuple(told), f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
