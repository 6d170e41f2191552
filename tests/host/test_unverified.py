"""In a project with a set, what is installed and named by nobody has no rights and no place in this process."""

import json

import pytest

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


def entered(project):
    with Host.start() as host:
        host.enter(project)
        return host.table().plugins["stranger"], host.grants("stranger"), host.table().plugins


def test_what_nobody_names_is_bounded(site, project):
    site.install("stranger", ASKS)
    manifest, grants, _ = entered(project)
    assert (manifest.unverified, grants, bool(manifest.kinds)) == (
        False,
        {"http": [{"host": "api.example", "reason": "to ask"}]},
        True,
    )
    (project / "plugins.toml").write_text("[plugins]\n")
    manifest, grants, plugins = entered(project)
    assert (manifest.unverified, manifest.loader, grants, manifest.kinds) == (True, "worker", {}, {})
    assert not any(each.unverified for id, each in plugins.items() if id != "stranger")


def test_what_is_named_needed_or_local_is_not(site, project):
    site.install("stranger", ASKS)
    site.install("friend", '[dependencies]\nstranger = ">=1"\n')
    (project / "plugins.toml").write_text("[plugins]\n")
    assert entered(project)[0].unverified
    installed = project / ".dataflare" / "installed.json"
    installed.parent.mkdir()
    for named in ("stranger", "friend"):
        installed.write_text(json.dumps({"plugins": {}, "host": {named: "1.0.0"}}))
        assert not entered(project)[0].unverified
    installed.unlink()
    told = next(site.folder.glob("dataflare_stranger*")) / "direct_url.json"
    told.write_text('{"url": "https://files.example/stranger.whl"}')
    assert entered(project)[0].unverified
    told.write_text('{"url": "file:///somewhere/stranger", "dir_info": {}}')
    assert not entered(project)[0].unverified


def test_the_list_says_which_and_why(site, project, monkeypatch, capsys):
    site.install("stranger", ASKS)
    (project / "plugins.toml").write_text("[plugins]\n")
    monkeypatch.chdir(project)
    assert main(["plugin", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["unverified"]
    assert [(each["id"], each["problems"][0]["code"]) for each in told] == [("stranger", "plugin.unverified")]
    assert main(["plugin", "list"]) == 0
    assert "plugin.unverified" in capsys.readouterr().err
