"""A flow goes on in a new process with the new code of an inline plugin, or comes back: no row is lost or doubled."""

from __future__ import annotations

import pytest
from handed import Launched, Project, code
from pipeline.reloads import judge


def test_a_new_process_goes_on_at_a_barrier(project: Project, launched: Launched) -> None:
    project.add("1.1.0", code("1.1.0"))
    told = launched.reload("1.1.0")
    assert (told["outcome"], told["replayed"]) == ("kept", 0), told
    assert told["pause_ms"] > 0
    assert len(launched.children()) == 1
    launched.until(2)
    ended = launched.end()
    assert (ended["code"], ended["status"]) == (0, "finished"), ended
    made = judge(project.rows())
    assert set(made) == {"1.0.0", "1.1.0"}
    assert ended["rows"]["read"] == ended["rows"]["written"] == sum(made.values())


def test_state_of_an_older_version_is_migrated(project: Project, launched: Launched) -> None:
    project.add("2.0.0", code("2.0.0", state=2))
    told = launched.reload()
    assert told["outcome"] == "kept", told
    launched.until(2)
    launched.end()
    assert set(judge(project.rows())) == {"1.0.0", "2.0.0"}


@pytest.mark.parametrize(
    "how",
    [
        "raise RuntimeError('defect')",
        "return batch.reject([True] * len(batch), 'no', 'never')",
        "return batch.slice(0, 0)",
        "time.sleep(3600)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "os._exit(3)",
    ],
)
def test_a_version_that_fails_in_the_flow_is_taken_back(project: Project, launched: Launched, how: str) -> None:
    """It raises, refuses, swallows, hangs, dies, freezes or leaves; the next version is kept."""
    project.add("1.1.0", code("1.1.0", call=how))
    told = launched.reload()
    assert told["outcome"] == "rolled_back", told
    assert told["problem"]["message"]
    assert (told["problem"]["code"] == "reload.stuck") == ("sleep" in how), told
    assert launched.children() == []
    launched.until(2)
    project.add("1.2.0", code("1.2.0"))
    assert launched.reload()["outcome"] == "kept"
    launched.until(1)
    ended = launched.end()
    assert (ended["code"], ended["status"]) == (0, "finished"), ended
    assert set(judge(project.rows())) == {"1.0.0", "1.2.0"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def broken(:\n", "invalid syntax"),
        ("import os\nos._exit(3)", "exit status 3"),
        ("import os\nos.kill(os.getpid(), 9)", "signal 9"),
        (code("1.1.0").replace("def process(self, batch: Batch)", "def process(self, batch: Batch, x)"), "`x`"),
        (code("1.1.0").replace('"version"', '"n"'), "other types"),
        (code("1.1.0", state=2, migrate="raise ValueError('cannot')"), "cannot"),
        (code("1.1.0").replace("made = []", "raise RuntimeError('shadow')"), "shadow"),
    ],
)
def test_a_version_that_cannot_work_is_refused_before_anything_stops(
    project: Project, launched: Launched, text: str, what: str
) -> None:
    project.add("1.1.0", text)
    with pytest.raises(Exception, match=what):
        launched.reload()
    assert launched.children() == []
    launched.until(1)
    launched.end()
    assert set(judge(project.rows())) == {"1.0.0"}
