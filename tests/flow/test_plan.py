"""Planning: components found and configured, schemas pushed, every mistake at its place, all before anything starts."""

import json
from pathlib import Path

import pytest

from dataflare.errors import ConfigError, Problem
from dataflare.schema import Schema
from dataflare_host.app import Host
from dataflare_host.plan import Plan

SHOP = '''
import pyarrow as pa
import pyarrow.compute as pc
from dataflare import Batch, ConfigError, Problem, Processor, Schema, Secret, Sink, Source, State
from dataflare import processor, source, state
from dataflare.types import Columns


@source
def numbers(position: int = 0, *, count: int = 10):
    """Whole numbers."""
    for n in range(position, count):
        yield {"n": [n], "name": ["x"]}, n + 1

@source
def words(position: int = 0):
    yield {"n": ["one"]}, 1

@source
def silent(position: int = 0):
    return
    yield

@source(replay="none")
def pushed():
    raise AssertionError("a source that cannot be read again is not tried")

@source
def broken(position: int = 0):
    raise OSError("no such disk")
    yield

class Wide(Source[int]):
    """Many columns, read as asked for."""
    def plan(self):
        mail = pa.field("mail", pa.string(), metadata={"tags": "personal"})
        return pa.schema([("id", pa.int64()), ("size", pa.int32()), ("note", pa.string()), mail])
    def read(self, position: int = 0, columns=None):
        return
        yield

class ByKey(Sink, ability="idempotent"):
    """Overwrites by key."""
    def write(self, batch: Batch):
        pass

class Events(Wide):
    """The same, and when it was."""
    def plan(self):
        return pa.schema([*super().plan(), ("at", pa.timestamp("us"))])

class Shops(Source[int]):
    """Two streams."""
    def plan(self):
        return {"orders": Schema({"id": int}), "users": Schema({"id": int})}
    def read(self, position: int = 0):
        return
        yield

@processor
def double(batch: Batch, *, factor: int = 2) -> Batch:
    """Twice as much."""
    return batch.with_column("n", pc.multiply(batch["n"], factor))

@processor(adds={"score": float})
def scored(batch: Batch, *, token: Secret) -> Batch:
    return batch

class Typed(Processor):
    """Refuses what is not a number."""
    column: str = "n"
    def plan(self, schema):
        if not pa.types.is_integer(schema.type(self.column)):
            raise ConfigError(Problem("plan.type", "not a number", pointer="/column", fix="cast it"))
        return schema
    def check(self):
        return [Problem("shop.closed", "closed", pointer="/column")] if self.column == "shut" else []
    def process(self, batch):
        return batch

class Only(Processor, cardinality="one", reads=("mail",), writes=("hash",), clears=("personal",)):
    """Some columns."""
    columns: Columns = ("id",)
    def plan(self, schema):
        return schema.select(list(self.columns))
    def needs(self, columns, schema):
        return frozenset(self.columns)
    def process(self, batch):
        return batch.select(self.columns)

class Latest(Processor, by="key", outputs=("late",)):
    """One row a key."""
    key: Columns
    seen: State[int] = state()
    def plan(self, schema):
        return schema
    def process(self, batch):
        return batch

class Total(Processor, lanes=1):
    """Keeps a sum of its own."""
    def process(self, batch):
        return batch
    def snapshot(self):
        return b"0"

class Join(Processor, inputs=("left", "right")):
    """Two inputs."""
    def plan(self, schemas):
        return schemas["left"]
    def process(self, batch):
        return batch

class Table(Sink, ability="transactional", fencing="target"):
    """Takes anything."""
    name: str = "t"
    def write(self, batch):
        pass

class Log(Sink, fencing="target"):
    """Appends."""
    def needs(self, schema):
        return frozenset()
    def write(self, batch):
        pass

class Vault(Sink, ability="transactional", fencing="target", clears=("personal",)):
    """May hold personal data."""
    def write(self, batch):
        pass
'''
HEAD = "version: 1\nname: shop\n"


@pytest.fixture(scope="module")
def host():
    with Host.start() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP, "utf-8")
    return tmp_path


def planned(host: Host, folder: Path, body: str, **options) -> Plan:
    path = folder / "flow.yaml"
    path.write_text(HEAD + body, "utf-8")
    return host.plan(path, **options)


def refused(host: Host, folder: Path, body: str, **options) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        planned(host, folder, body, **options)
    return list(caught.value.problems)


def columns(plan: Plan, step: str, output: str = "out") -> dict[str, str] | None:
    value = plan.steps[step].outputs[output]
    return None if value is None else {f.name: str(f.type) for f in Schema.from_json(value)}


def line_of(body: str, text: str) -> int:
    return next(number for number, line in enumerate((HEAD + body).splitlines(), 1) if text in line)


SIMPLE = """\
sources:
  numbers: {uses: ./shop.py/numbers, with: {count: 3}}
steps:
  double: {uses: ./shop.py/double, from: numbers}
sinks:
  out: {uses: ./shop.py/table, from: double}
"""


def test_a_plan_is_whole_typed_and_pure_json(host: Host, folder: Path) -> None:
    plan = planned(host, folder, SIMPLE)
    assert list(plan.steps) == ["numbers", "double", "out"]
    assert columns(plan, "numbers") == columns(plan, "double") == {"n": "int64", "name": "string"}
    assert plan.steps["double"].config == {"factor": 2}
    assert plan.steps["double"].stateless
    assert plan.steps["numbers"].abilities["replay"] == "position"
    assert plan.steps["double"].summary == "Twice as much."
    assert [edge.id for edge in plan.edges] == ["numbers.out->double", "double.out->out"]
    assert plan.guarantee.effective == "exactly_once"
    assert plan.checkpoint == {"interval": 1.0}
    assert plan.base == str(folder)
    again = Plan.from_json(json.loads(json.dumps(plan.as_json())))
    assert again == plan
    assert again.digested().digest == plan.digest


def test_engine_mode_and_state_come_from_the_plugin_set_with_the_flows_name(host: Host, folder: Path) -> None:
    plan = planned(host, folder, SIMPLE)
    assert {"mode", "engine", "state"} == {word for word in host.defaults() if word in ("mode", "engine", "state")}
    assert "shop" in json.dumps(plan.state["with"])
    assert "{flow}" not in json.dumps(plan.as_json())
    own = planned(host, folder, SIMPLE + "state: {uses: state/memory}\n")
    assert own.state == {"uses": "state/memory", "with": {}}
    assert own.guarantee.effective == "at_least_once"


def test_the_digest_follows_the_code_and_the_configuration_not_the_folder(host: Host, folder: Path) -> None:
    first = planned(host, folder, SIMPLE)
    other = folder / "other"
    other.mkdir()
    (other / "shop.py").write_text(SHOP, "utf-8")
    assert planned(host, other, SIMPLE).digest == first.digest
    assert planned(host, folder, SIMPLE.replace("count: 3", "count: 4")).digest != first.digest
    (other / "shop.py").write_text(SHOP + "\n# changed\n", "utf-8")
    changed = planned(host, other, SIMPLE)
    assert changed.artifacts["./shop.py"]["digest"] != first.artifacts["./shop.py"]["digest"]
    assert changed.digest != first.digest


def test_mistakes_of_all_branches_are_reported_at_once_each_at_its_place(host: Host, folder: Path) -> None:
    body = """\
sources:
  numbers: {uses: ./shop.py/numbers, with: {count: many}}
  words: {uses: ./shop.py/words}
  nums: {uses: ./shop.py/numbers}
steps:
  typed: {uses: ./shop.py/typed, from: words, with: {column: n}}
  after: {uses: ./shop.py/typed, from: typed}
  typo: {uses: ./shop.py/dubble, from: nums}
  keyed: {uses: ./shop.py/latest, from: nums, with: {key: nmae}}
  late: {uses: ./shop.py/double, from: nums.late}
  field: {uses: ./shop.py/double, from: nums, with: {facter: 3}}
sinks:
  out: {uses: ./shop.py/table, from: [after, numbers]}
  more: {uses: nobody/table, from: nums}
mode: nowhere
"""
    found = [(each.code, each.pointer, each.line) for each in refused(host, folder, body)]
    assert found == [
        ("config.type", "/sources/numbers/with/count", line_of(body, "many")),
        ("plan.type", "/steps/typed/with/column", line_of(body, "typed: {")),
        ("flow.unknown_component", "/steps/typo/uses", line_of(body, "typo: {")),
        ("plan.unknown_column", "/steps/keyed/with/key", line_of(body, "keyed: {")),
        ("config.unknown_field", "/steps/field/with/facter", line_of(body, "field: {")),
        ("flow.unknown_component", "/sinks/more/uses", line_of(body, "more: {")),
        ("flow.unknown_component", "/mode", line_of(body, "mode: nowhere")),
    ]
    fixes = {each.pointer: each.fix or "" for each in refused(host, folder, body)}
    assert "double" in fixes["/steps/typo/uses"]
    assert "name" in fixes["/steps/keyed/with/key"]
    assert "factor" in fixes["/steps/field/with/facter"]


def test_the_shape_of_the_flow_and_its_components_are_checked_together(host: Host, folder: Path) -> None:
    body = SIMPLE.replace("from: double}", "from: dobule}") + "checkpont: {}\n"
    body = body.replace("with: {count: 3}", "with: {count: three}")
    codes = {each.code for each in refused(host, folder, body)}
    assert codes == {"flow.unknown_step", "flow.unknown_key", "config.type"}


def test_a_step_without_inputs_is_one_problem(host: Host, folder: Path) -> None:
    (found,) = refused(host, folder, SIMPLE.replace(", from: double}", "}"))
    assert (found.code, found.pointer) == ("flow.missing_key", "/sinks/out")


def test_a_source_is_tried_only_where_it_can_be_read_again(host: Host, folder: Path) -> None:
    body = """\
sources:
  pushed: {uses: ./shop.py/pushed}
  silent: {uses: ./shop.py/silent}
sinks:
  out: {uses: ./shop.py/table, from: [pushed, silent]}
"""
    plan = planned(host, folder, body)
    assert columns(plan, "pushed") is None
    assert columns(plan, "silent") is None
    assert plan.guarantee.effective == "at_most_once"


def test_a_source_that_fails_when_it_is_tried_is_a_problem(host: Host, folder: Path) -> None:
    body = SIMPLE.replace("./shop.py/numbers, with: {count: 3}", "./shop.py/broken")
    (found,) = refused(host, folder, body)
    assert (found.code, found.pointer) == ("plan.source_failed", "/sources/numbers")
    assert "no such disk" in (found.cause or "")


def test_several_inputs_are_united_or_refused_with_both_types(host: Host, folder: Path) -> None:
    body = """\
sources:
  numbers: {uses: ./shop.py/numbers}
  other: {uses: ./shop.py/%s}
sinks:
  out: {uses: ./shop.py/table, from: [numbers, other]}
"""
    plan = planned(host, folder, body % "numbers")
    assert len(plan.inputs("out")) == 2
    (found,) = refused(host, folder, body % "words")
    assert (found.code, found.pointer) == ("plan.union", "/sinks/out/from")
    assert "`n` is int64 and string" in found.message


def test_keyed_steps_get_their_rows_by_key(host: Host, folder: Path) -> None:
    latest = "./shop.py/latest, from: numbers, lanes: 4, with: {key: name}"
    body = SIMPLE.replace("./shop.py/double, from: numbers", latest)
    plan = planned(host, folder, body)
    step = plan.steps["double"]
    assert (step.keyed, step.lanes, step.stateless) == (("name",), 4, False)
    assert [edge.exchange for edge in plan.edges] == ["key", "forward"]
    assert set(step.outputs) == {"out", "late"}


def test_a_step_with_a_snapshot_of_its_own_runs_in_one_lane(host: Host, folder: Path) -> None:
    body = SIMPLE.replace("./shop.py/double", "./shop.py/total")
    assert planned(host, folder, body).steps["double"].abilities["stateful"]
    (found,) = refused(host, folder, body.replace("from: numbers", "from: numbers, lanes: 2"))
    assert (found.code, found.pointer) == ("plan.lanes", "/steps/double/lanes")


def test_outputs_are_named_and_must_exist(host: Host, folder: Path) -> None:
    body = """\
sources:
  shops: {uses: ./shop.py/shops}
steps:
  latest: {uses: ./shop.py/latest, from: shops.orders, with: {key: id}}
sinks:
  out: {uses: ./shop.py/table, from: [latest, %s]}
"""
    plan = planned(host, folder, body % "latest.late")
    assert [edge.id for edge in plan.edges] == ["shops.orders->latest", "latest.out->out", "latest.late->out"]
    (found,) = refused(host, folder, body % "latest.lat")
    assert (found.code, found.fix) == ("flow.unknown_output", "write `from: latest.late`")
    (main,) = refused(host, folder, body % "shops")
    assert main.code == "flow.unknown_output"
    assert "orders" in (main.fix or "")


def test_named_inputs_are_asked_for_and_checked(host: Host, folder: Path) -> None:
    body = """\
sources:
  numbers: {uses: ./shop.py/numbers}
  words: {uses: ./shop.py/words}
steps:
  join: {uses: ./shop.py/join, from: %s}
sinks:
  out: {uses: ./shop.py/table, from: join}
"""
    plan = planned(host, folder, body % "{left: numbers, right: words}")
    assert [edge.id for edge in plan.inputs("join")] == ["numbers.out->join.left", "words.out->join.right"]
    assert columns(plan, "join") == {"n": "int64", "name": "string"}
    assert [each.code for each in refused(host, folder, body % "{left: numbers}")] == ["flow.missing_input"]
    (typo,) = refused(host, folder, body % "{left: numbers, rigth: words}")
    assert typo.code == "flow.unknown_input"


def test_only_columns_that_somebody_reads_are_asked_of_a_source(host: Host, folder: Path) -> None:
    body = """\
sources:
  wide: {uses: ./shop.py/wide}
  numbers: {uses: ./shop.py/numbers}
steps:
  only: {uses: ./shop.py/only, from: wide, with: {columns: [note, id]}}
sinks:
  out: {uses: ./shop.py/table, from: only}
  log: {uses: ./shop.py/log, from: [numbers]}
"""
    plan = planned(host, folder, body)
    read = {edge.source: edge.columns for edge in plan.edges}
    assert read == {"wide": ("id", "note"), "only": None, "numbers": None}
    assert columns(plan, "wide") == {"id": "int64", "note": "string"}
    timed = planned(host, folder, body.replace("/wide}", "/events}") + "time: {column: at}\n")
    assert {edge.source: edge.columns for edge in timed.edges}["wide"] == ("id", "note", "at")
    whole = planned(
        host,
        folder,
        body.replace("from: only}", "from: [only, whole]}").replace(
            "sinks:", "  whole: {uses: ./shop.py/only, from: wide, with: {columns: [id, size, note, mail]}}\nsinks:"
        ),
    )
    assert {edge.source: edge.columns for edge in whole.edges}["wide"] is None


def test_rows_keep_one_column_where_only_their_number_counts(host: Host, folder: Path) -> None:
    body = "sources:\n  wide: {uses: ./shop.py/wide}\nsinks:\n  log: {uses: ./shop.py/log, from: wide}\n"
    assert planned(host, folder, body).edges[0].columns == ("size",)


def test_tags_travel_beside_the_schema_until_something_clears_them(host: Host, folder: Path) -> None:
    body = """\
sources:
  wide: {uses: ./shop.py/wide}
steps:
  %s
sinks:
  out: {uses: ./shop.py/%s, from: step}
"""
    kept = body % ("step: {uses: ./shop.py/typed, from: wide, with: {column: id}}", "table")
    found = refused(host, folder, kept)
    assert {each.code for each in found} == {"permission.tag"}
    assert any("`mail` is tagged `personal`" in each.message for each in found)
    plan = planned(host, folder, kept.replace("/table", "/vault"))
    assert plan.inputs("step")[0].tags == {"mail": ["personal"]}
    # what the step writes is not declared, so every column may hold what it read
    assert set(plan.inputs("out")[0].tags) == {"id", "size", "note", "mail"}
    cleared = body % ("step: {uses: ./shop.py/only, from: wide, with: {columns: [id, mail]}}", "table")
    plan = planned(host, folder, cleared)
    assert plan.inputs("out")[0].tags == {}


def test_secrets_stay_references_and_must_be_known(host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = "./shop.py/scored, from: numbers, with: {token: '${secret:SHOP_T}'}"
    body = SIMPLE.replace("./shop.py/double, from: numbers", scored)
    monkeypatch.delenv("DATAFLARE_SECRET_SHOP_T", raising=False)
    (found,) = refused(host, folder, body)
    assert (found.code, found.pointer) == ("secret.unknown", "/steps/double/with/token")
    monkeypatch.setenv("DATAFLARE_SECRET_SHOP_T", "s3cr3t-value")
    plan = planned(host, folder, body)
    assert plan.steps["double"].secrets == {"/token": "SHOP_T"}
    assert plan.steps["double"].config == {"token": "${secret:SHOP_T}"}
    assert "s3cr3t-value" not in json.dumps(plan.as_json())
    assert host.step(plan, "double").token.get() == "s3cr3t-value"
    assert columns(plan, "double") == {"n": "int64", "name": "string", "score": "double"}


def test_components_are_asked_whether_they_could_work_only_on_request(host: Host, folder: Path) -> None:
    body = SIMPLE.replace("./shop.py/double, from: numbers", "./shop.py/typed, from: numbers, with: {column: n}")
    assert planned(host, folder, body, check=True)
    shut = body.replace("column: n", "column: shut")
    codes = {each.code: each.pointer for each in refused(host, folder, shut, check=True)}
    assert codes["shop.closed"] == "/steps/double/with/column"


def test_a_demanded_guarantee_is_refused_where_it_is_demanded(host: Host, folder: Path) -> None:
    body = SIMPLE.replace("./shop.py/table", "./shop.py/log") + "guarantee: exactly_once\n"
    (found,) = refused(host, folder, body)
    assert (found.code, found.line) == ("plan.guarantee", line_of(body, "guarantee"))
    assert found.details["edge"] == "double.out->out"
    spooled = body.replace("from: double}", "from: double, deliver: on_commit}")
    assert "cut off" in (refused(host, folder, spooled)[0].cause or "")
    spooled = planned(host, folder, spooled.replace("./shop.py/log", "./shop.py/by-key"))
    assert spooled.guarantee.effective == "exactly_once"
    assert spooled.guarantee.deliver_on_commit == ("out",)
    body = SIMPLE.replace("./shop.py/table", "./shop.py/log")
    (from_outside,) = refused(host, folder, body, guarantee="exactly_once")
    assert from_outside.code == "plan.guarantee"


def test_the_mode_can_be_overridden(host: Host, folder: Path) -> None:
    (found,) = refused(host, folder, SIMPLE, mode="nowhere")
    assert (found.code, found.pointer) == ("flow.unknown_component", "/mode")


def test_options_are_kept_in_seconds_and_what_is_unused_is_said(host: Host, folder: Path) -> None:
    body = SIMPLE.replace("steps:", "  spare: {uses: ./shop.py/events, time: {column: at}}\nsteps:")
    plan = planned(host, folder, body + "drain_timeout: 1m\nkeep: 3\nmax_rejects: 0\nplugins: {std: '>=1,<99'}\n")
    assert plan.options["drain_timeout"] == 60.0
    assert plan.options["keep"] == 3
    assert plan.options["max_rejects"] == 0
    assert plan.options["times"] == {"spare": {"column": "at"}}
    assert {each["code"] for each in plan.options["warnings"]} == {"flow.unused"}
    wanting = SIMPLE + "plugins: {nobody: '1', std: new, state: '>=99'}\n"
    codes = {each.code for each in refused(host, folder, wanting)}
    assert codes == {"flow.unknown_plugin", "flow.plugin_versions", "flow.plugin_version"}


def test_a_file_that_cannot_be_loaded_is_one_problem_at_its_own_line(host: Host, folder: Path) -> None:
    (folder / "shop.py").write_text("import dataflare\nx = 1 / 0\n", "utf-8")
    (found,) = refused(host, folder, SIMPLE)
    assert found.code == "plugin.file_failed"
    assert (Path(found.file or "").name, found.line) == ("shop.py", 2)


def test_a_mapping_is_planned_like_a_file(host: Host, folder: Path) -> None:
    from_file = planned(host, folder, SIMPLE)
    assert host.plan(from_file.flow, base=folder).digest == from_file.digest


@pytest.mark.parametrize(
    ("own", "whole", "code", "pointer"),
    [
        ("at", "", None, None),
        ("att", "", "plan.unknown_column", "/sources/wide/time/column"),
        ("note", "", "plan.time_column", "/sources/wide/time/column"),
        ("", "at", None, None),
        ("", "size", "plan.time_column", "/time/column"),
        ("", "nowhere", "plan.unknown_column", "/time/column"),
    ],
)
def test_the_column_of_event_time_is_there_and_tells_times(
    host: Host, folder: Path, own: str, whole: str, code: str | None, pointer: str | None
) -> None:
    time = f", time: {{column: {own}}}" if own else ""
    body = f"sources:\n  wide: {{uses: ./shop.py/events{time}}}\n  other: {{uses: ./shop.py/numbers}}\n"
    body += "sinks:\n  log: {uses: ./shop.py/log, from: wide}\n  more: {uses: ./shop.py/log, from: other}\n"
    body += f"time: {{column: {whole}}}\n" if whole else ""
    if code is None:
        assert planned(host, folder, body).steps["wide"].kind == "source"
    else:
        (found,) = refused(host, folder, body)
        assert (found.code, found.pointer) == (code, pointer)
