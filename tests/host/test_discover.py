"""Installed plugins are found by their entry points, never imported, and one's fault is no other's."""

import json
import os

import pytest

from dataflare_host.discover import discover

BROKEN = "raise RuntimeError('imported')"


def faults(catalogue, id):
    return [problem.code for each in catalogue.faulty if each.id == id for problem in each.problems]


def test_a_plugin_is_found_without_being_imported(site):
    site.install("acme-crm", __init__=BROKEN)
    manifest = discover().plugins["acme-crm"]
    assert (manifest.version, manifest.package) == ("1.0.0", "testplugin_acme_crm")


def test_a_broken_manifest_leaves_the_others_alone(site):
    site.install("good")
    site.install("bad", "[typo]\n")
    catalogue = discover()
    assert "good" in catalogue.plugins
    assert faults(catalogue, "bad") == ["plugin.manifest_unknown_key"]


def test_a_package_that_is_gone_is_told(site):
    home = site.install("gone")
    for path in home.iterdir():
        path.unlink()
    home.rmdir()
    assert faults(discover(), "gone") == ["plugin.package_missing"]


def test_a_dotted_package_is_refused(site):
    site.install("deep", package="testplugin_deep")
    entry = next(site.folder.glob("dataflare_deep*")) / "entry_points.txt"
    entry.write_text("[dataflare.plugins]\ndeep = testplugin_deep.inner\n")
    assert faults(discover(), "deep") == ["plugin.package_dotted"]


def test_the_entry_point_and_the_manifest_must_agree(site):
    home = site.install("one")
    text = (home / "dataflare.toml").read_text()
    (home / "dataflare.toml").write_text(text.replace('id = "one"', 'id = "two"'))
    assert faults(discover(), "one") == ["plugin.id_mismatch"]


def test_two_strangers_with_one_id_are_both_set_aside(site):
    site.install("shop", distribution="acme-shop", package="testplugin_shop_a")
    site.install("shop", distribution="other-shop", package="testplugin_shop_b")
    catalogue = discover()
    assert "shop" not in catalogue.plugins
    assert faults(catalogue, "shop") == ["plugin.id_conflict", "plugin.id_conflict"]


def test_an_id_is_claimed_by_the_distribution_of_its_name_alone(site):
    site.install("shop", distribution="acme-shop")
    catalogue = discover()
    assert "shop" not in catalogue.plugins
    assert faults(catalogue, "shop") == ["plugin.id_conflict"]


def test_the_owner_of_an_id_keeps_it(site):
    site.install("shop", distribution="evil-shop", package="testplugin_shop_evil")
    site.install("shop", package="testplugin_shop_good")
    catalogue = discover()
    assert catalogue.plugins["shop"].package == "testplugin_shop_good"
    assert [each.distribution for each in catalogue.faulty if each.id == "shop"] == ["evil-shop"]


def test_only_what_the_set_names_is_seen(site):
    site.install("inside")
    site.install("outside")
    catalogue = discover({"inside"})
    assert list(catalogue.plugins) == ["inside"]
    assert faults(catalogue, "outside") == ["plugin.not_in_set"]


def test_a_plugin_falls_with_what_it_depends_on(site):
    site.install("base", version="1.0.0")
    site.install("fits", '[dependencies]\nbase = ">=1"\n')
    site.install("newer", '[dependencies]\nbase = ">=2"\n')
    site.install("above", '[dependencies]\nnewer = ""\n')
    site.install("typo", '[dependencies]\nbsae = ""\n')
    catalogue = discover({"base", "fits", "newer", "above", "typo"})
    assert set(catalogue.plugins) == {"base", "fits"}
    told = {each.id: each.problems[0] for each in catalogue.faulty}
    assert {told[id].code for id in ("newer", "above", "typo")} == {"plugin.dependency"}
    assert told["typo"].fix == "did you mean `base`?"


def test_an_older_distribution_later_on_the_path_is_hidden(site, tmp_path, monkeypatch):
    later = type(site)(tmp_path / "later")
    monkeypatch.syspath_prepend(str(later.folder))
    monkeypatch.syspath_prepend(str(site.folder))
    site.install("twice", version="2.0.0")
    later.install("twice", version="1.0.0")
    catalogue = discover({"twice"})
    assert catalogue.plugins["twice"].version == "2.0.0"
    assert faults(catalogue, "twice") == []


@pytest.fixture
def cached(site, tmp_path):
    """A cache that holds the plugin ``acme``, and its file."""
    site.install("acme")
    discover()
    return next((tmp_path / "cache").iterdir())


def test_the_cache_answers_in_place_of_the_manifest(site, cached):
    cached.write_text(cached.read_text().replace("A plugin of a test.", "From the cache."))
    assert discover().plugins["acme"].summary == "From the cache."


def test_an_edited_manifest_is_seen(site, cached):
    file = site.folder / "testplugin_acme" / "dataflare.toml"
    file.write_text(file.read_text().replace("A plugin", "The plugin"))
    assert discover().plugins["acme"].summary == "The plugin of a test."


def test_a_new_and_a_removed_plugin_are_seen(site, cached):
    site.install("more")
    assert {"acme", "more"} <= set(discover().plugins)
    for metadata in site.folder.glob("dataflare_acme*"):
        for path in metadata.iterdir():
            path.unlink()
        metadata.rmdir()
    assert "acme" not in discover().plugins


def test_a_cached_fault_is_told_again(site, cached):
    site.install("bad", "[typo]\n")
    assert faults(discover(), "bad") == faults(discover(), "bad") == ["plugin.manifest_unknown_key"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"made_by": 1}', b"\xff\x00"])
def test_a_damaged_cache_is_ignored(site, cached, damage):
    cached.write_bytes(damage)
    assert "acme" in discover().plugins


def test_a_cache_with_wrong_values_is_ignored(site, cached):
    value = json.loads(cached.read_text())
    value["files"] = {name: {"manifest": {"id": 1}, "problems": [3]} for name in value["files"]}
    cached.write_text(json.dumps(value))
    assert "acme" in discover().plugins


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(site, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "file"))
    site.install("acme")
    assert "acme" in discover().plugins


def test_what_was_changed_just_now_is_not_cached(site, tmp_path):
    home = site.install("young")
    os.utime(home / "dataflare.toml")
    discover()
    kept = json.loads(next((tmp_path / "cache").iterdir()).read_text())
    assert not [name for name in kept["files"] if "young" in name]
