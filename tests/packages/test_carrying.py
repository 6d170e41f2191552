"""A project travels in one file: it installs where there is no index, and only from who is trusted to deploy."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from dataflare import DataflareError
from dataflare_host.app import Host
from dataflare_packages.carrying import deploy, export

from .conftest import Answer

Publish = Callable[..., Path]


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def ready(publish: Publish, project: Path, answer: Answer) -> Path:
    """A project with a lock."""
    publish("left", "1.0.0", {"right": ""})
    publish("right", "1.0.0")
    (project / "flow.yaml").write_text("version: 1\nname: few\n")
    assert answer("add", "left")[0] == 0
    return project


def refusal(work: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(DataflareError) as caught:
        work()
    return caught.value.code, caught.value.problems[0].details.get("attack")


def test_a_bundle_installs_where_there_is_nothing_else(
    ready: Path, index: Path, answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "one.zip", tmp_path / "two.zip"
    assert answer("export", first)[1]["signed"] is False
    assert export(ready, second)["files"]
    assert first.read_bytes() == second.read_bytes()
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "empty"))
    shutil.rmtree(index)
    with Host.start() as host:
        done = deploy(first, tmp_path / "there", host)
        assert sorted(done.installed) == ["left", "right"]
        host.enter(tmp_path / "there")
        assert host.table().plugins["right"].version == "1.0.0"
    for name in ("flow.yaml", "dataflare.lock", "plugins.toml", "trust/main.root.json"):
        assert (tmp_path / "there" / name).read_bytes() == (ready / name).read_bytes()


def test_a_pinned_deployer_alone_installs_and_nothing_older(ready: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path, "ours")
    other, _ = keys(tmp_path, "other")
    place = tmp_path / "there"
    made = {}
    for serial in (1, 2):
        made[serial] = tmp_path / f"{serial}.zip"
        export(ready, made[serial], key=private, serial=serial)
    export(ready, tmp_path / "foreign.zip", key=other, serial=9)
    export(ready, tmp_path / "unsigned.zip", serial=9)
    with Host.start() as host:
        deploy(made[2], place, host, public)
        before = (place / ".dataflare/installed.json").read_bytes()
        assert refusal(lambda: deploy(made[1], place, host)) == ("bundle.not_trusted", "replay")
        assert refusal(lambda: deploy(tmp_path / "foreign.zip", place, host)) == ("bundle.not_trusted", "wrong_key")
        assert refusal(lambda: deploy(tmp_path / "unsigned.zip", place, host)) == ("bundle.not_trusted", "unsigned")
        deploy(made[2], place, host)
        assert (place / ".dataflare/installed.json").read_bytes() == before


@pytest.mark.parametrize("name", ["flow.yaml", "plugins.toml", "../outside", "wheels/../../outside", ".hidden"])
def test_a_bundle_with_other_files_is_refused(ready: Path, tmp_path: Path, name: str) -> None:
    private, public = keys(tmp_path, "ours")
    bundle, changed = tmp_path / "bundle.zip", tmp_path / "changed.zip"
    export(ready, bundle, key=private, serial=1)
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(changed, "w") as written:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
        for entry, content in {**files, name: b"other"}.items():
            written.writestr(entry, content)
    with Host.start() as host:
        code, _ = refusal(lambda: deploy(changed, tmp_path / "there", host, public))
    assert code in ("bundle.not_trusted", "bundle.syntax")
    assert not (tmp_path / "there" / ".dataflare" / "installed.json").exists()
    assert not (tmp_path / "outside").exists()


def test_what_is_locked_is_told_as_a_bill_of_materials(ready: Path, answer: Answer) -> None:
    code, told = answer("sbom")
    assert (code, told["bomFormat"], told["specVersion"]) == (0, "CycloneDX", "1.6")
    parts = {part["name"]: part for part in told["components"]}
    assert parts["dataflare-left"]["purl"] == "pkg:pypi/dataflare-left@1.0.0"
    assert len(parts["dataflare-left"]["hashes"][0]["content"]) == 64
    needs = {each["ref"]: each["dependsOn"] for each in told["dependencies"]}
    assert needs["pkg:pypi/dataflare-left@1.0.0"] == ["pkg:pypi/dataflare-right@1.0.0"]
    refs = [part["bom-ref"] for part in told["components"]]
    assert len(refs) == len(set(refs))
