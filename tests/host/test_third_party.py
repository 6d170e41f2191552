"""A stranger's bundle, installed as a wheel, brings a kind, a mode, a hook and a command; the host stays as it is."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FILES = {
    "pyproject.toml": """
        [build-system]
        requires = ["flit_core>=3.11,<5"]
        build-backend = "flit_core.buildapi"
        [project]
        name = "dataflare-acme"
        version = "2.1.0"
        description = "Orders of two shops made one."
        dependencies = ["dataflare-host>=1.0,<2"]
        [project.entry-points."dataflare.plugins"]
        acme = "acme_orders"
        [tool.flit.module]
        name = "acme_orders"
    """,
    "acme_orders/__init__.py": '"""Orders of two shops made one."""',
    "acme_orders/dataflare.toml": """
        schema = 1
        [plugin]
        id = "acme"
        version = "2.1.0"
        summary = "Orders of two shops made one."
        [api]
        requires = ">=1.0,<2"
        host = ">=1.0,<2"
        [runtime]
        kind = "python"
        [kinds]
        conflict-policy = "acme_orders.api:ConflictPolicy"
        [components.conflict-policy]
        newest = "acme_orders.api:Newest"
        cheapest = "acme_orders.api:Cheapest"
        [components.source]
        pairs = "acme_orders.flow:pairs"
        guarded = "acme_orders.flow:guarded"
        [components.processor]
        resolve = "acme_orders.flow:Resolve"
        [components.sink]
        lines = "acme_orders.flow:Lines"
        [components.mode]
        rehearsal = "acme_orders.mode:Rehearsal"
        [components.command]
        "acme.policies" = "acme_orders.commands:policies"
        [summaries.command]
        "acme.policies" = "The ways to settle a conflict."
        [permissions]
        secrets = [{ name = "shop-*", reason = "sign in at the shop" }]
        [hooks]
        module = "acme_orders.hooks"
        names = ["check_plan"]
    """,
    "acme_orders/api.py": '''
        from dataflare.component import Component

        class ConflictPolicy(Component, kind="conflict-policy", abilities={"asks": False}):
            """Settles which of two versions of an order holds."""
            def choose(self, ours, theirs):
                raise NotImplementedError

        class Newest(ConflictPolicy):
            """The later one."""
            def choose(self, ours, theirs):
                return max(ours, theirs, key=lambda order: order["time"])

        class Cheapest(ConflictPolicy, asks=True):
            """The one with the lower price."""
            def choose(self, ours, theirs):
                return min(ours, theirs, key=lambda order: order["price"])
    ''',
    "acme_orders/flow.py": '''
        import json
        from acme_orders.api import ConflictPolicy
        from dataflare import Processor, Sink, Uses, source

        @source
        def pairs(position: int = 0, *, count: int = 3):
            """Orders, each in two versions."""
            for id in range(position, count):
                yield [{"id": id, "time": 1, "price": 5.0}, {"id": id, "time": 2, "price": 7.0}], id + 1

        @source
        def guarded(ctx, *, secret: str):
            """How long a secret is."""
            yield {"length": [len(ctx.secrets.get(secret))]}

        class Resolve(Processor):
            """One version of each order."""
            policy: Uses[ConflictPolicy]
            def plan(self, schema): return schema
            def process(self, batch):
                orders = batch.to_rows()
                return [self.policy.get().choose(a, b) for a, b in zip(orders[::2], orders[1::2])]

        class Lines(Sink, ability="append"):
            """Lines of JSON."""
            path: str
            def write(self, batch, ctx):
                with open(ctx.path(self.path), "a") as out:
                    out.writelines(json.dumps(row) + "\\n" for row in batch.to_rows())
    ''',
    "acme_orders/mode.py": '''
        from dataflare_host import Budget, Mode, layout_of

        class Rehearsal(Mode, takeover="never"):
            """Run here, and say so in a file."""
            note: str = "rehearsal.txt"

            def run(self, plan, host):
                with open(f"{plan.base}/{self.note}", "w") as out:
                    out.write(plan.name)
                engine = host.component(plan.engine["uses"], plan.engine["with"], "engine")
                (part,) = layout_of(plan, {}).cut(plan, 1)
                self.runner = engine.runner(part, host, None, Budget())
                return self.runner.run()

            def command(self, name, args):
                return self.runner.command(name, args)
    ''',
    "acme_orders/hooks.py": """
        from dataflare.errors import Problem

        def dataflare_check_plan(plan, principal):
            if plan.name.startswith("friday"):
                return [Problem("acme.freeze", f"{plan.name} must wait", fix="wait for Monday")]
    """,
    "acme_orders/commands.py": '''
        from dataflare import command

        @command(name="acme.policies")
        def policies(host, asking: bool = False):
            """The ways to settle a conflict."""
            entries = host.table().entries("conflict-policy")
            return [entry.uses for entry in entries if entry.load().spec["asks"] or not asking]
    ''',
}
FLOW = """
version: 1
name: {name}
mode: {{uses: acme/rehearsal, with: {{note: played.txt}}}}
sources:
  orders: {{uses: acme/pairs, with: {{count: 4}}}}
steps:
  one: {{uses: acme/resolve, from: orders, with: {{policy: {policy}}}}}
sinks:
  out: {{uses: acme/lines, from: one, with: {{path: out.jsonl}}}}
state: {{uses: state/memory}}
"""


GUARDED = """
version: 1
name: guarded
mode: acme/rehearsal
sources:
  secret: {{uses: acme/guarded, with: {{secret: {secret}}}}}
sinks:
  out: {{uses: acme/lines, from: secret, with: {{path: out.jsonl}}}}
state: {{uses: state/memory}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that pip installed the stranger's wheel into."""
    project, wheels, target = (tmp_path_factory.mktemp(name) for name in ("project", "wheels", "target"))
    for name, text in FILES.items():
        path = project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    build = "import sys; from flit_core import buildapi; buildapi.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=project, check=True, timeout=120)
    (wheel,) = wheels.iterdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run(
        [*pip, str(wheel)], check=True, timeout=120, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    return target


@pytest.fixture
def dataflare(installed, tmp_path):
    """Runs the command line with the stranger's bundle beside ours."""

    def run(*arguments, code=0, **variables):
        environment = {
            **os.environ,
            **variables,
            "PYTHONPATH": str(installed),
            "DATAFLARE_CACHE": str(tmp_path / "cache"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "dataflare_host", *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


def flow_file(folder: Path, name="orders", policy="acme/newest"):
    file = folder / "flow.yaml"
    file.write_text(FLOW.format(name=name, policy=policy))
    return file


def test_its_flow_runs_in_its_mode_with_its_kind(dataflare, tmp_path):
    answer = json.loads(dataflare("run", flow_file(tmp_path), "--json").splitlines()[-1])
    assert (answer["status"], answer["rows"]["read"], answer["rows"]["written"]) == ("finished", 8, 4)
    assert (tmp_path / "played.txt").read_text() == "orders"
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["id"], row["price"]) for row in written] == [(0, 7.0), (1, 7.0), (2, 7.0), (3, 7.0)]


def test_its_hook_refuses_a_plan(dataflare, tmp_path):
    answer = json.loads(dataflare("validate", flow_file(tmp_path, "friday-orders"), "--json", code=2))
    assert [(error["code"], error["fix"]) for error in answer["errors"]] == [("acme.freeze", "wait for Monday")]


def test_a_wrong_name_of_its_kind_gets_the_nearest(dataflare, tmp_path):
    answer = json.loads(dataflare("validate", flow_file(tmp_path, policy="acme/cheepest"), "--json", code=2))
    assert [(error["code"], error["fix"]) for error in answer["errors"]] == [
        ("flow.unknown_component", "did you mean `acme/cheapest`?")
    ]


def test_its_command_stands_beside_ours(dataflare):
    assert "acme" in dataflare("--help")
    assert "The ways to settle a conflict." in dataflare("acme", "--help")
    assert json.loads(dataflare("acme", "policies", "--json")) == ["acme/cheapest", "acme/newest"]
    assert json.loads(dataflare("acme", "policies", "--asking", "--json")) == ["acme/cheapest"]


def test_it_is_listed_like_ours(dataflare):
    listed = json.loads(dataflare("plugin", "list", "--json"))
    text = json.dumps(listed)
    assert '"acme"' in text
    assert '"std"' in text


@pytest.mark.parametrize(
    ("secret", "code", "status"), [("shop-token", 0, "finished"), ("bank-pin", 1, "failed"), ("shop-none", 1, "failed")]
)
def test_it_reads_only_the_secrets_that_it_was_granted(dataflare, tmp_path, secret, code, status):
    file = tmp_path / "guarded.yaml"
    file.write_text(GUARDED.format(secret=secret))
    told = dataflare(
        "run", file, "--json", code=code, DATAFLARE_SECRET_SHOP_TOKEN="12345", DATAFLARE_SECRET_BANK_PIN="9"
    )
    answer = json.loads(told.splitlines()[-1])
    assert answer["status"] == status
    if code == 0:
        assert (tmp_path / "out.jsonl").read_text() == '{"length": 5}\n'
    else:
        wanted = {"bank-pin": "permission.denied", "shop-none": "secret.unknown"}[secret]
        assert [problem["code"] for problem in answer["problems"]] == [wanted]
