"""What came from an index, and is named by nobody, has no rights and no place in this process."""

import hashlib
import json
import os

import pytest

from dataflare.errors import ConfigError
from dataflare_host.app import Host
from dataflare_host.cli import main

ASKS = """
[kinds]
gadget = "testplugin_stranger.own:Gadget"
[[permissions.http]]
host = "api.example"
reason = "to ask"
"""


@pytest.fixture
def project(tmp_path):
    place = tmp_path / "project"
    place.mkdir()
    return place


def entered(project=None):
    with Host.start() as host:
        if project:
            host.enter(project)
        return host.table().plugins["stranger"], host.grants("stranger"), host.table().plugins


def stranger(site, manifest=ASKS, **more):
    return site.install("stranger", manifest, from_index=True, **more)


def test_what_nobody_names_is_bounded_with_a_set_and_without(site, project):
    stranger(site)
    for place in (None, project):
        manifest, grants, plugins = entered(place)
        assert (manifest.unverified, manifest.loader, grants, manifest.kinds) == (True, "worker", {}, {})
        assert [id for id, each in plugins.items() if each.unverified] == ["stranger"]
        (project / "plugins.toml").write_text("[plugins]\n")


def test_what_is_named_or_needed_has_its_rights_and_is_inline_where_the_set_says_so(site, project):
    stranger(site)
    site.install("friend", '[dependencies]\nstranger = ">=1"\n', from_index=True)
    (project / "plugins.toml").write_text("[plugins]\n")
    assert entered(project)[0].unverified
    installed = project / ".dataflare" / "installed.json"
    installed.parent.mkdir()
    for named in ("stranger", "friend"):
        installed.write_text(json.dumps({"plugins": {}, "host": {named: "1.0.0"}}))
        manifest, grants, _ = entered(project)
        told = (manifest.unverified, manifest.loader, [*grants], manifest.kinds)
        assert told == (False, "worker", ["http"], {})
    (project / "plugins.toml").write_text('[plugins.stranger]\nversion = ""\nisolation = "inline"\n')
    installed.write_text(json.dumps({"plugins": {}, "host": {"stranger": "1.0.0"}}))
    manifest, _, _ = entered(project)
    assert (manifest.loader, bool(manifest.kinds)) == ("python", True)
    with Host.start(["stranger"]) as host:
        assert host.table().plugins["stranger"].kinds


def test_a_set_that_changes_changes_who_is_vouched_for(site, project):
    stranger(site)
    names = project / "plugins.toml"
    installed = project / ".dataflare" / "installed.json"
    installed.parent.mkdir()
    names.write_text("[plugins]\n")
    with Host.start() as host:
        for number, named in enumerate(({"stranger": "1.0.0"}, {}, {"stranger": "1.0.0"})):
            installed.write_text(json.dumps({"plugins": {}, "host": named}))
            names.write_text(f"# {number}\n[plugins]\n")
            host.enter(project)
            assert host.table().plugins["stranger"].unverified is not bool(named)


def test_what_dataflare_itself_requires_is_vouched_for(site):
    stranger(site)
    site.install("other", from_index=True, requires=["dataflare-stranger>=1 ; extra == 'more'"])
    root = site.folder / "dataflare-1.0.0.dist-info"
    root.mkdir()
    for asked in ("unrelated>=1", "dataflare-other-one", "dataflare-other-one>=1"):
        (root / "METADATA").write_text(f"Name: dataflare\nVersion: 1.0.0\nRequires-Dist: {asked}\n")
        site.age()
        assert entered()[0].unverified
    (root / "METADATA").write_text("Name: dataflare\nVersion: 1.0.0\nRequires-Dist: dataflare_other[x] (>=1)\n")
    os.utime(site.folder)
    assert not entered()[0].unverified


def test_what_came_from_this_machine_is_vouched_for_as_far_as_the_machine_bears_it_out(site, tmp_path):
    stranger(site)
    told = next(site.folder.glob("dataflare_stranger*")) / "direct_url.json"
    source, wheel = tmp_path / "source", tmp_path / "dataflare_stranger-1.0.0-py3-none-any.whl"
    source.mkdir()
    wheel.write_bytes(b"the wheel")
    other = tmp_path / "dataflare_other-1.0.0-py3-none-any.whl"
    other.write_bytes(b"the wheel")

    def whole(**said) -> bool:
        told.write_text(json.dumps(said))
        os.utime(site.folder)
        return not entered()[0].unverified

    digest = {"hashes": {"sha256": hashlib.sha256(b"the wheel").hexdigest()}}
    assert not whole(url="https://files.example/stranger.whl", archive_info=digest)
    assert not whole(url="file:///", dir_info={})
    assert not whole(url=source.as_uri(), dir_info={})
    assert not whole(url=wheel.as_uri(), archive_info={"hashes": {"sha256": "0"}})
    assert not whole(url=wheel.as_uri(), dir_info={})
    assert not whole(url=other.as_uri(), archive_info=digest)
    assert not whole(url=[1])
    assert whole(url=wheel.as_uri(), archive_info=digest)
    (source / "pyproject.toml").write_text('[project]\nname = "something-else"\n')
    assert not whole(url=source.as_uri(), dir_info={})
    (source / "pyproject.toml").write_text('[project]\nname = "DataFlare_Stranger"\n')
    assert whole(url=source.as_uri(), dir_info={"editable": True})
    told.write_text("{")
    os.utime(site.folder)
    assert entered()[0].unverified


def test_its_presets_of_others_components_are_not_used(site):
    stranger(
        site,
        '[components.processor]\nfew = { uses = "std/filter", with = { where = "n > 1" } }\n',
        runtime="declarative",
    )
    with Host.start() as host, pytest.raises(ConfigError) as caught:
        host.component("stranger/few", {}, "processor")
    assert caught.value.code == "plugin.unverified"


def test_the_list_says_which_and_why(site, project, monkeypatch, capsys):
    stranger(site)
    monkeypatch.chdir(project)
    assert main(["plugin", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["unverified"]
    assert [(each["id"], each["problems"][0]["code"]) for each in told] == [("stranger", "plugin.unverified")]
    assert main(["plugin", "list"]) == 0
    assert "plugin.unverified" in capsys.readouterr().err
