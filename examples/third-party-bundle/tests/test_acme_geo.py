"""The components as the engine runs them. Run with: pytest tests"""

from acme_geo.legs import Legs
from acme_geo.near import distance, near

from dataflare.testing import Bench, call, process, processor_suite

BERLIN, PARIS = (52.52, 13.405), (48.857, 2.352)


def _row(name, point):
    return {"ship": name, "lat": point[0], "lon": point[1]}


TestNear = processor_suite(near, [[_row("a", BERLIN)], [_row("b", (None, 1.0)), _row("c", PARIS)]], lat=52.5, lon=13.4)
TestLegs = processor_suite(Legs, [[_row("a", BERLIN), _row("b", PARIS)], [_row("a", PARIS)]], key=["ship"])


def test_a_row_without_a_point_is_rejected():
    made = process(near, [_row("a", (None, 1.0))], lat=0, lon=0)
    assert [(reject.row["ship"], reject.code) for reject in made.rejects] == [("a", "acme_geo.no_point")]


def test_a_leg_goes_on_after_a_restart():
    with Bench(Legs, key=["ship"]) as bench:
        assert bench.feed([_row("a", BERLIN)]).rows[0]["leg"] is None
        kept = bench.snapshot()
    with Bench(Legs, key=["ship"], snapshot=kept) as again:
        assert round(again.feed([_row("a", PARIS)]).rows[0]["leg"]) == 877


def test_the_tool():
    assert round(call(distance, {"from_": list(BERLIN), "to": list(PARIS)})) == 877
