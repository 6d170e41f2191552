"""The guarantee: each cell of the table, what is added to it, and that worse never promises more."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare_flow.guarantee import Path, guarantee_of, judge, level_of, meets, promise, weakest
from dataflare_flow.vocabulary import LEVELS
from dataflare_host.plan import Edge, Plan, StepPlan

STRONG = ({"ability": "transactional"}, {"ability": "staged"}, {"ability": "idempotent", "on_commit": True})
BEST = Path("in", "out")


def level(**given) -> str:
    path = replace(BEST, **given)
    return promise(path, judge(path)).effective


@pytest.mark.parametrize(
    ("replay", "repeat", "strong", "idempotent", "append"),
    [
        ("position", "same", "exactly_once", "effectively_once", "at_least_once"),
        ("redelivery+ids", "same", "exactly_once", "effectively_once", "at_least_once"),
        ("position", "values", "exactly_once", "effectively_once", "at_least_once"),
        ("redelivery+ids", "values", "exactly_once", "effectively_once", "at_least_once"),
        ("position", "rows", "exactly_once", "at_least_once", "at_least_once"),
        ("redelivery+ids", "rows", "exactly_once", "at_least_once", "at_least_once"),
        *(("redelivery", repeat, *["at_least_once"] * 3) for repeat in ("same", "values", "rows")),
        *(("none", repeat, "at_most_once", "at_most_once", "best_effort") for repeat in ("same", "values", "rows")),
    ],
)
def test_each_cell_of_the_table(replay, repeat, strong, idempotent, append) -> None:
    for sink in STRONG:
        assert level(replay=replay, repeat=repeat, **sink) == strong
    assert level(replay=replay, repeat=repeat, ability="idempotent") == idempotent
    for on_commit in (False, True):
        assert level(replay=replay, repeat=repeat, ability="append", on_commit=on_commit) == append


def test_what_is_added_to_the_table() -> None:
    assert level(durable=False) == "at_least_once"
    assert level(durable=False, remembers=True) == "at_least_once"
    assert level(durable=False, replay="redelivery") == "at_least_once"
    assert level(durable=False, replay="redelivery", remembers=True) == "best_effort"
    assert level(durable=False, replay="none") == "best_effort"
    assert level(takeover="any") == level(takeover="host", shared="host") == "exactly_once"
    assert level(takeover="any", shared="host") == "at_least_once"
    assert level(takeover="any", shared="host", replay="redelivery", remembers=True) == "best_effort"
    assert level(drops=True) == "at_most_once"
    assert level(fencing="none", takeover="never") == "exactly_once"
    assert level(fencing="none", takeover="host") == "at_least_once"
    assert level(fencing="lock", takeover="host") == "exactly_once"
    assert level(fencing="lock", takeover="any") == "at_least_once"
    assert level(fencing="none", takeover="any", on_commit=True) == "exactly_once"


def test_every_reason_has_words_and_a_fix() -> None:
    path = replace(BEST, replay="none", drops=True, ability="append", durable=False, fencing="none", takeover="any")
    reasons = judge(path)
    assert {reason.bits for reason in reasons} == {"L", "D"}
    assert len({reason.text for reason in reasons}) == len(reasons) == 5
    assert all(reason.fix for reason in reasons)


def test_a_demand_allows_what_is_at_least_as_good() -> None:
    allowed = {wanted: {bits for bits in ("", "V", "D", "L", "LD") if meets(bits, wanted)} for wanted in LEVELS}
    assert allowed == {
        "exactly_once": {""},
        "effectively_once": {"", "V"},
        "at_least_once": {"", "V", "D"},
        "at_most_once": {"", "V", "L"},
        "best_effort": {"", "V", "D", "L", "LD"},
    }


@given(st.lists(st.sampled_from(LEVELS)))
def test_a_flow_is_the_or_of_its_paths(levels: list[str]) -> None:
    whole = weakest(levels)
    assert all(LEVELS.index(whole) >= LEVELS.index(each) for each in levels)
    assert weakest([]) == "exactly_once"
    assert weakest(["at_least_once", "at_most_once"]) == "best_effort"


# Each list goes from better to worse, whatever the rest is. (Redelivery doubles and no replay loses: neither is worse.)
REPLAYS = (["position", "redelivery+ids", "redelivery"], ["position", "redelivery+ids", "none"])
WORSE = {
    "repeat": ["same", "values", "rows"],
    "ability": ["transactional", "staged", "idempotent", "append"],
    "fencing": ["target", "names", "lock", "none"],
    "takeover": ["never", "host", "any"],
    "shared": ["any", "host", "process"],
    "durable": [True, False],
    "drops": [False, True],
    "remembers": [False, True],
    "on_commit": [True, False],
}


@given(st.sampled_from(REPLAYS), st.data())
def test_worse_never_promises_more(replays, data) -> None:
    orders = {**WORSE, "replay": replays}
    facts = {name: data.draw(st.sampled_from(values), name) for name, values in orders.items()}
    name = data.draw(st.sampled_from(sorted(orders)), "what gets worse")
    worse = data.draw(st.sampled_from(orders[name][orders[name].index(facts[name]) :]), "to")
    assert LEVELS.index(level(**{**facts, name: worse})) >= LEVELS.index(level(**facts))


# --- of whole plans -------------------------------------------------------------------------------------


def step(name: str, kind: str, config=None, on_error=None, keyed=(), **abilities) -> StepPlan:
    return StepPlan(name, kind, f"x/{name}", "x", "1", config or {}, abilities, on_error=on_error or {}, keyed=keyed)


SOURCE = step("in", "source", replay="position")
STRONG_SINK = step("out", "sink", ability="transactional", fencing="target")
BY_KEY = step("out", "sink", {"key": ["id"]}, ability="idempotent", fencing="target")


def plan(*steps: StepPlan, **wanted):
    named = {each.name: each for each in steps}
    edges = tuple(Edge(first.name, "out", second.name) for first, second in pairwise(steps))
    return guarantee_of(named, edges, {"durable": True}, {"takeover": "host"}, **wanted)


@pytest.mark.parametrize(
    ("takeover", "shared", "effective"),
    [("any", "any", "exactly_once"), ("any", "host", "at_least_once"), ("host", "host", "exactly_once")],
)
def test_the_store_must_reach_where_the_mode_may_take_a_flow(takeover: str, shared: str, effective: str) -> None:
    steps = {each.name: each for each in (SOURCE, STRONG_SINK)}
    edges = (Edge("in", "out", "out"),)
    found, problems = guarantee_of(
        steps, edges, {"durable": True, "shared": shared}, {"takeover": takeover}, wanted="exactly_once"
    )
    assert found.effective == effective
    assert ["reach other machines" in (problem.cause or "") for problem in problems] == [True] * len(problems)
    assert len(problems) == (effective != "exactly_once")


def test_a_nondeterministic_step_counts_by_what_it_touches() -> None:
    unsteady = {"deterministic": False, "cardinality": "one"}
    assert plan(SOURCE, step("m", "processor", writes=["x"], **unsteady), BY_KEY)[0].effective == "effectively_once"
    assert plan(SOURCE, step("m", "processor", writes=["id"], **unsteady), BY_KEY)[0].effective == "at_least_once"
    assert plan(SOURCE, step("m", "processor", **unsteady), BY_KEY)[0].effective == "at_least_once"
    filters = step("m", "processor", deterministic=False, cardinality="filter", writes=[])
    assert plan(SOURCE, filters, BY_KEY)[0].effective == "at_least_once"
    assert plan(SOURCE, filters, STRONG_SINK)[0].effective == "exactly_once"


def test_asking_for_more_is_refused_with_edge_reason_and_fix() -> None:
    sink = step("out", "sink", ability="append", fencing="target")
    promised, (problem,) = plan(SOURCE, step("m", "processor"), sink, wanted="exactly_once")
    assert promised.effective == "at_least_once"
    assert (problem.code, problem.pointer) == ("plan.guarantee", "/guarantee")
    assert problem.details["edge"] == "m.out->out"
    assert "in → m → out" in problem.message
    assert "appends" in (problem.cause or "")
    assert "idempotent sink" in (problem.fix or "")
    assert plan(SOURCE, sink, wanted="at_least_once")[1] == []
    _, (at_sink,) = plan(SOURCE, sink, wanted="at_least_once", sinks_wanted={"out": "exactly_once"})
    assert at_sink.pointer == "/sinks/out/guarantee"


def test_on_commit_is_switched_on_behind_a_nondeterministic_path() -> None:
    unsteady = step("guess", "processor", deterministic=False)
    promised, problems = plan(SOURCE, unsteady, BY_KEY, wanted="exactly_once")
    assert problems == []
    assert promised.effective == "exactly_once"
    assert promised.deliver_on_commit == ("out",)
    assert any("`guess`" in note and "`out`" in note for note in promised.notes)
    assert plan(SOURCE, unsteady, BY_KEY)[0].deliver_on_commit == ()
    assert plan(SOURCE, step("m", "processor"), BY_KEY, wanted="exactly_once")[1] != []


def test_on_commit_does_not_help_where_the_source_is_the_reason() -> None:
    source = step("in", "source", replay="none")
    promised, (problem,) = plan(source, step("m", "processor", deterministic=False), BY_KEY, wanted="exactly_once")
    assert promised.deliver_on_commit == ()
    assert "cannot be read again" in (problem.cause or "")


def test_drops_and_effects_are_said() -> None:
    steps = (
        step("m", "processor", effects="writes"),
        step("n", "processor", on_error={"policy": "retry", "then": "drop"}),
    )
    promised, _ = plan(SOURCE, *steps, STRONG_SINK)
    assert promised.effective == "exactly_once"
    assert len(promised.notes) == 2


def test_every_source_of_a_sink_is_judged_over_all_its_ways() -> None:
    push = step("push", "source", replay="none")
    named = {each.name: each for each in (SOURCE, push, step("a", "processor"), step("b", "processor"), STRONG_SINK)}
    pairs = [("in", "a"), ("in", "b"), ("push", "b"), ("a", "out"), ("b", "out")]
    edges = tuple(Edge(source, "out", target) for source, target in pairs)
    promised, problems = guarantee_of(named, edges, {}, {}, wanted="exactly_once")
    assert [(path.source, path.steps, path.effective) for path in promised.paths] == [
        ("in", ("a", "b"), "exactly_once"),
        ("push", ("b",), "at_most_once"),
    ]
    assert promised.effective == "at_most_once"
    assert [problem.details["edge"] for problem in problems] == ["b.out->out"]
    made = Plan({}, named, edges, promised)
    assert Plan.from_json(made.as_json()).guarantee == promised


def test_levels_follow_their_bits() -> None:
    assert [level_of(bits) for bits in ("", "V", "D", "L", "LD")] == list(LEVELS)
