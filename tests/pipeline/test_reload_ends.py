"""Sources and sinks are reloaded too: positions go on, what is open is finished by who began it, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline.reloaded_ends import Ends
from pipeline.reloads import FLOW, Project, Running, code, judge

from dataflare_pipeline.keyed import KeyedState


@pytest.fixture
def project(tmp_path: Path) -> Ends:
    made = Ends(tmp_path)
    made.put("1.0.0")
    return made


@pytest.fixture
def running(project: Ends) -> Iterator[Running]:
    made = Running(project)
    made.until(2)
    yield made
    if made.outcome is None:
        made.end()


def test_a_source_a_sink_and_a_processor_change_over_together(project: Ends, running: Running) -> None:
    project.put("1.1.0")
    told = running.reload()
    assert (told["outcome"], told["replayed"]) == ("kept", 0)
    running.until(2)
    project.put("2.0.0", state=2)
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    running.end()
    assert set(project.judge()) == {"1.0.0", "1.1.0", "2.0.0"}


BAD: dict[str, Callable[[Ends], None]] = {
    "reads": lambda project: project.put("1.1.0", read="if ctx.fence: raise RuntimeError('defect')"),
    "writes": lambda project: project.put("1.1.0", write="raise RuntimeError('defect')"),
    "later": lambda project: project.put("2.1.0", state=2, write="raise RuntimeError('defect')"),
}


@pytest.mark.parametrize("how", BAD)
def test_a_source_or_sink_that_fails_is_taken_back(project: Ends, running: Running, how: str) -> None:
    BAD[how](project)
    told = running.reload()
    assert told["outcome"] == "rolled_back", told
    assert "defect" in told["problem"]["message"]
    running.until(2)
    project.put("2.2.0", state=2)
    assert running.reload()["outcome"] == "kept"
    running.until(1)
    running.end()
    assert set(project.judge()) == {"1.0.0", "2.2.0"}


def test_positions_that_cannot_be_taken_over_refuse_the_version(project: Ends, running: Running) -> None:
    project.put("2.0.0", state=2, migrate="raise ValueError('cannot')")
    with pytest.raises(Exception, match="cannot"):
        running.reload()
    running.until(1)
    running.end()
    assert set(project.judge()) == {"1.0.0"}


SOURCE = """
import time
from pathlib import Path
from dataflare import Idle, source

@source
def numbers(position: int = 0):
    while not Path({enough!r}).exists():
        end = position + 100
        yield {{"n": list(range(position, end)), "k": [n % 7 for n in range(position, end)]}}, end
        position = end
        yield Idle(after=0.002)
"""


def test_state_changes_its_form_beside_also_where_the_source_is_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was migrated is there when the region begins anew, and what was before it if that is taken back."""
    project = Project(tmp_path)
    project.file.write_text(FLOW.replace("./shop.py/numbers", "tagger/numbers"))
    source = SOURCE.format(enough=str(tmp_path / "enough"))
    project.add("1.0.0", source + code("1.0.0"))
    running = Running(project)
    running.until(2)
    monkeypatch.setattr(KeyedState, "load", lambda *_, **__: pytest.fail("read from the store"))
    failing = code("2.0.0", state=2).replace(
        "made = []", "made = []\n        if ctx.fence: raise RuntimeError('defect')"
    )
    project.add("2.0.0", source + failing.replace("(self, batch: Batch)", "(self, batch: Batch, ctx)"))
    told = running.reload()
    assert told["outcome"] == "rolled_back"
    assert "defect" in told["problem"]["message"]
    running.until(1)
    project.add("2.1.0", source + code("2.1.0", state=2))
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    assert set(judge(running.end())) == {"1.0.0", "2.1.0"}
