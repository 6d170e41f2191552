"""Versions that go together are found where there are any; where there are none, the smallest reason and a way out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from dataflare import ConfigError
from dataflare_packages.explaining import Fix, core_of, explain
from dataflare_packages.releases import Here, Release, Shelf
from dataflare_packages.solving import TooDeep, any_solution, solve

HERE = Here(api="1.4", host="1.0.0", python="3.11.7", features=frozenset({"state"}), platforms=frozenset({"linux"}))
NAMES = ("a", "b", "c", "d")
RANGES = ("", "==1", "==2", "==3", ">=2", "<3", "!=2", ">3")


def shelf(releases: Iterable[Release], **more: object) -> Shelf:
    listed: dict[str, list[Release]] = {}
    for release in releases:
        listed.setdefault(release.name, []).append(release)
    return Shelf(lambda name: listed.get(name, ()), HERE, **more)  # type: ignore[arg-type]


demands = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(RANGES), max_size=2)
indexes = st.fixed_dictionaries(
    {(name, version): demands for name in NAMES for version in ("1", "2", "3")},
).map(lambda given: [Release(name, version, requires) for (name, version), requires in given.items()])
roots = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(RANGES))


def holds(chosen: Mapping[str, Release], wanted: Mapping[str, str]) -> bool:
    every = [wanted, *(release.requires for release in chosen.values())]
    return all(
        name in chosen and SpecifierSet(text).contains(chosen[name].version)
        for each in every
        for name, text in each.items()
    )


def possible(releases: list[Release], wanted: Mapping[str, str]) -> bool:
    """By trying all."""
    choices = [[None, *(release for release in releases if release.name == name)] for name in NAMES]
    return any(
        holds({release.name: release for release in chosen if release is not None}, wanted)
        for chosen in itertools.product(*choices)
    )


@settings(deadline=None, max_examples=300)
@given(indexes, roots)
def test_a_solution_is_found_where_there_is_one(releases: list[Release], wanted: dict[str, str]) -> None:
    for way in (solve, any_solution):
        found = way(wanted, shelf(releases))
        assert (found is not None) == possible(releases, wanted)
        if found is not None:
            assert holds(found, wanted)


@settings(deadline=None, max_examples=300)
@given(indexes, roots)
def test_a_conflict_is_as_small_as_it_can_be_and_its_fixes_solve_it(
    releases: list[Release], wanted: dict[str, str]
) -> None:
    choice = shelf(releases)
    if solve(wanted, choice) is not None:
        return
    found = explain(wanted, choice)
    assert not possible(releases, found.core)
    for name in found.core:
        assert possible(releases, {other: text for other, text in found.core.items() if other != name})
    for fix in found.fixes:
        changed = dict(wanted)
        if fix.wanted is None:
            del changed[fix.name]
        else:
            changed[fix.name] = fix.wanted
        assert possible(releases, changed)
    assert found.render()
    assert found.as_json()["core"] == found.core


def test_the_newest_is_taken_unless_another_is_locked() -> None:
    releases = [Release("a", version) for version in ("1.0", "1.10", "1.9")]
    assert solve({"a": ""}, shelf(releases))["a"].version == "1.10"  # type: ignore[index]
    assert solve({"a": ""}, shelf(releases, locked={"a": "1.9"}))["a"].version == "1.9"  # type: ignore[index]
    assert solve({"a": ">1.9"}, shelf(releases, locked={"a": "1.9"}))["a"].version == "1.10"  # type: ignore[index]


def test_yanked_releases_are_for_those_who_name_or_hold_them() -> None:
    releases = [Release("a", "1.0"), Release("a", "2.0", yanked="broken")]
    assert solve({"a": ""}, shelf(releases))["a"].version == "1.0"  # type: ignore[index]
    assert solve({"a": ">=2"}, shelf(releases)) is None
    assert solve({"a": "==2.0"}, shelf(releases))["a"].version == "2.0"  # type: ignore[index]
    assert solve({"a": ""}, shelf(releases, locked={"a": "2.0"}))["a"].version == "2.0"  # type: ignore[index]


def test_pre_releases_are_for_those_who_ask_and_where_there_is_nothing_else() -> None:
    releases = [Release("a", "1.0"), Release("a", "2.0rc1"), Release("b", "0.1a1")]
    assert solve({"a": "", "b": ""}, shelf(releases))["a"].version == "1.0"  # type: ignore[index]
    assert solve({"b": ""}, shelf(releases))["b"].version == "0.1a1"  # type: ignore[index]
    assert solve({"a": ">=2.0rc1"}, shelf(releases))["a"].version == "2.0rc1"  # type: ignore[index]
    assert solve({"a": ""}, shelf(releases, prereleases=["a"]))["a"].version == "2.0rc1"  # type: ignore[index]


def test_a_conflict_with_the_host_is_told_with_both_sides() -> None:
    releases = [
        Release("dedupe", "2.0", {"cdc": ">=1,<2", "dataflare-api": ">=1"}),
        Release("dedupe", "1.1", {"cdc": ">=1,<2"}),
        Release("cdc", "1.9", {"dataflare-api": ">=2"}),
        Release("other", "1.0"),
    ]
    found = explain({"dedupe": ">=1.1", "other": ""}, shelf(releases))
    assert found.core == {"dedupe": ">=1.1"}
    assert found.package == "dataflare-api"
    text = found.render()
    assert "your project needs `dedupe` >=1.1 → `dedupe` (every version) needs `cdc` >=1,<2" in text
    assert "this host has 1.4" in text
    assert found.fixes == [Fix("dedupe", None)]


def test_two_sides_are_named_with_what_leads_to_them_and_what_would_do() -> None:
    releases = [
        Release("left", "1.0", {"shared": "<2"}),
        Release("left", "2.0", {"shared": ">=2"}),
        Release("right", "1.0", {"shared": ">=2"}),
        Release("shared", "1.0"),
        Release("shared", "2.0"),
        *(Release(f"innocent-{number}", "1.0") for number in range(20)),
    ]
    wanted = {"left": "<2", "right": "", **{f"innocent-{number}": "" for number in range(20)}}
    found = explain(wanted, shelf(releases))
    assert found.core == {"left": "<2", "right": ""}
    assert found.package == "shared"
    assert Fix("left", "==2.0", "2.0") in found.fixes


def test_packages_that_demand_each_other_are_answered_soundly() -> None:
    releases = [
        *(
            Release("a", version, requires)
            for version, requires in (("1", {"a": "==2"}), ("2", {"d": "==1"}), ("3", {}))
        ),
        *(Release("c", version, requires) for version, requires in (("1", {}), ("2", {}), ("3", {"a": "==3"}))),
        *(Release("d", version, requires) for version, requires in (("1", {}), ("2", {"a": "==1"}))),
        Release("d", "3", {"a": "==2", "c": ""}),
    ]
    assert {name: each.version for name, each in (solve({"d": ""}, shelf(releases)) or {}).items()} == {"d": "1"}
    assert solve({"d": "==3"}, shelf(releases)) is None


def test_what_the_host_lacks_and_what_there_is_not_is_a_conflict() -> None:
    releases = [
        Release("gpu", "1.0", {"feature:cuda": ""}),
        Release("win", "1.0", {"platform:windows": ""}),
        Release("old", "1.0", {"python": "<3.9"}),
        Release("fine", "1.0", {"feature:state": "", "platform:linux": "", "python": ">=3.11"}),
    ]
    assert solve({"fine": ""}, shelf(releases)) is not None
    for name in ("gpu", "win", "old", "nowhere"):
        assert solve({name: ""}, shelf(releases)) is None
        assert explain({name: "", "fine": ""}, shelf(releases)).core == {name: ""}


@pytest.mark.parametrize(("minor", "chosen"), [("1.0", "1.1"), ("1.1", "1.2"), ("1.2", "1.3"), ("2.0", "2.0")])
def test_a_host_gets_the_newest_release_that_its_contract_admits(minor: str, chosen: str) -> None:
    ranges = {"1.1": ">=1.0,<2", "1.2": ">=1.1,<2", "1.3": ">=1.2,<2", "2.0": ">=2,<3"}
    line = [Release("a", version, {"dataflare-api": wanted}) for version, wanted in ranges.items()]
    choice = Shelf(lambda name: line if name == "a" else (), replace(HERE, api=minor))
    assert solve({"a": ""}, choice)["a"].version == chosen  # type: ignore[index]


def test_cycles_empty_ranges_and_many_versions_do_no_harm() -> None:
    ring = [Release("a", "1.0", {"b": ""}), Release("b", "1.0", {"a": ""})]
    assert set(solve({"a": ""}, shelf(ring)) or {}) == {"a", "b"}
    assert solve({"a": ">2,<1"}, shelf(ring)) is None
    many = [Release("a", f"1.{number}") for number in range(500)]
    assert solve({"a": "<1.250"}, shelf(many))["a"].version == "1.249"  # type: ignore[index]


@pytest.mark.parametrize(("wanted", "code"), [(">=one", "resolve.range"), ("=>1", "resolve.range")])
def test_a_range_that_is_none_is_said(wanted: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        solve({"a": wanted}, shelf([Release("a", "1.0")]))
    assert caught.value.code == code
    with pytest.raises(ConfigError, match="is no version"):
        solve({"a": ""}, shelf([Release("a", "one")]))


def test_core_without_a_conflict_in_pairs() -> None:
    """Three demands of which any two go together."""
    releases = [
        Release("x", "1", {"s": "!=1"}),
        Release("y", "1", {"s": "!=2"}),
        Release("z", "1", {"s": "!=3"}),
        *(Release("s", version) for version in ("1", "2", "3")),
    ]
    choice = shelf(releases)
    assert core_of({"x": "", "y": "", "z": ""}, choice) == {"x": "", "y": "", "z": ""}
    assert explain({"x": "", "y": "", "z": ""}, choice).package == "s"


def test_a_search_that_is_given_up_names_what_it_went_back_on() -> None:
    assert TooDeep(["a", "b"]).names == ["a", "b"]
