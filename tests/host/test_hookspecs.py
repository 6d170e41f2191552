"""Every hook is called as its specification says, documented, and tested here."""

import inspect
import re
import threading
from pathlib import Path

import pytest

from dataflare.errors import ConfigError, PermissionDenied, Problem
from dataflare_host import Event, Guarantee, Host, Plan, Principal, hookspecs
from dataflare_host.hooks import Hooks
from dataflare_host.secrets import variable

PLAN = Plan(flow={}, steps={}, edges=(), guarantee=Guarantee(), name="orders")
SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("dataflare_")}


def with_hooks(site, source, *names, id="watch"):
    listed = ", ".join(f'"{name}"' for name in names)
    site.install(id, f'[hooks]\nmodule = "testplugin_{id}.hooks"\nnames = [{listed}]\n', hooks=source)


def start(*ids):
    return Host.start(ids or ("watch",))


def heard(id="watch"):
    """What the hooks module of a test's plugin noted in its list ``heard``."""
    import importlib

    return importlib.import_module(f"testplugin_{id}.hooks").heard


@pytest.mark.parametrize("name", SPECS)
def test_every_hook_is_documented_and_tested(name):
    short = name.removeprefix("dataflare_")
    arguments = ", ".join(inspect.signature(SPECS[name]).parameters)
    page = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text("utf-8")
    assert f"### `{short}({arguments})`" in page
    assert inspect.getdoc(SPECS[name])
    assert re.search(rf'"{short}"', Path(__file__).read_text("utf-8")), f"no test here calls {short}"


def test_the_page_has_no_hook_that_is_gone():
    page = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text("utf-8")
    assert {f"dataflare_{name}" for name in re.findall(r"^### `(\w+)\(", page, re.M)} == set(SPECS)


def test_start_and_stop_are_told(site):
    source = """
    heard = []
    def dataflare_host_started(host): heard.append(("started", host.version))
    def dataflare_host_stopping(reason, host): heard.append(("stopping", reason))
    """
    with_hooks(site, source, "host_started", "host_stopping")
    with start() as host:
        assert heard() == [("started", host.version)]
    assert heard()[1:] == [("stopping", "done")]


def test_a_hook_is_imported_at_its_first_call(site):
    with_hooks(site, "raise ImportError('no licence')", "doctor")
    host = start()
    assert not host.hooks.faults
    assert [problem.code for problem in host.doctor() if problem.code == "plugin.load_failed"] == ["plugin.load_failed"]


def test_a_plugin_that_comes_later_is_told_what_is_historic(site):
    started = "heard = []\ndef dataflare_host_started(): heard.append('started')\n"
    with_hooks(site, started, "host_started")
    with_hooks(site, started, "host_started", id="late")
    host = start("watch")
    late = Host.start({"late"}).table().plugins["late"]
    heard("late").clear()
    assert host.swap([late]).generation == 2
    assert host.table(1).plugins.keys() == {"watch"}
    assert (heard(), heard("late")) == (["started"], ["started"])


def test_components_are_contributed_by_a_hook(site):
    source = """
    from dataflare import source
    def dataflare_components():
        @source
        def made_up():
            "Made while running."
            yield {"n": [1]}
        return [made_up]
    """
    with_hooks(site, source, "components")
    host = start()
    assert host.table().entries("source", loading=False) == []
    assert host.table().find("source", "watch/made-up").load().spec.summary == "Made while running."


def test_a_components_hook_that_fails_is_told(site):
    with_hooks(site, "def dataflare_components(): 1 / 0", "components")
    with pytest.raises(ConfigError) as caught:
        start().table().find("source", "watch/any")
    assert caught.value.code == "plugin.hook_failed"
    assert caught.value.problems[0].cause == "ZeroDivisionError: division by zero"


def test_an_install_can_be_refused(site):
    source = """
    from dataflare.errors import Problem
    def dataflare_check_install(release): return [Problem("acme.size", f"{release['id']} is too large")]
    """
    with_hooks(site, source, "check_install")
    given = {"release": {"id": "big"}, "before": None, "grants": {}, "principal": Principal("me")}
    answers = start().hooks.call("check_install", **given)
    assert [problem.message for answer in answers for problem in answer.value] == ["big is too large"]


def test_a_plan_can_be_refused(site):
    source = """
    from dataflare.errors import Problem
    def dataflare_check_plan(plan, principal):
        if plan.name == "orders":
            return [Problem("acme.freeze", f"{principal.name}: no `{plan.name}` on a Friday")]
    """
    with_hooks(site, source, "check_plan")
    host = Host.start({"watch"}, principal=Principal("eve", 1))
    assert host.check_plan(PLAN) == [Problem("acme.freeze", "eve: no `orders` on a Friday")]


def test_a_fault_in_check_plan_refuses_and_the_others_are_asked(site):
    with_hooks(site, "def dataflare_check_plan(): raise ValueError('oh')", "check_plan")
    with_hooks(site, "heard = []\ndef dataflare_check_plan(plan): heard.append(plan.name)", "check_plan", id="zeta")
    host = start("watch", "zeta")
    assert [(problem.code, problem.cause) for problem in host.check_plan(PLAN)] == [
        ("plugin.hook_failed", "ValueError: oh")
    ]
    host.check_plan(PLAN)
    assert heard("zeta") == ["orders", "orders"]
    assert host.hooks.faults == {("watch", "check_plan"): 2}


@pytest.mark.parametrize(
    ("source", "names", "cause"),
    [
        ("", ["check_plan"], "has no function `dataflare_check_plan`"),
        ("", ["check_plans"], "there is no hook `check_plans`"),
        ("def dataflare_check_plan(plan, colour): ...", ["check_plan"], "does not fit its specification"),
        ("dataflare_check_plan = 3", ["check_plan"], "has no function `dataflare_check_plan`"),
    ],
)
def test_a_hook_that_does_not_fit_refuses(site, source, names, cause):
    with_hooks(site, source, *names, *(["check_plan"] if names != ["check_plan"] else []))
    problems = start().check_plan(PLAN)
    assert [problem.code for problem in problems] == ["plugin.hook_invalid"]
    assert cause in problems[0].message


def test_without_a_hook_only_the_local_owner_may(site):
    Host.start(()).authorize("flow.stop", "orders")
    for stranger in (Principal("eve", -5), Principal("guest", Host.start(()).principal.uid, roles=("viewer",))):
        with pytest.raises(PermissionDenied, match=r"may not do `flow\.stop` to `orders`"):
            Host.start((), principal=stranger).authorize("flow.stop", "orders")


@pytest.mark.parametrize(
    ("answer", "denied"), [("True", False), ("False", True), ("None", False), ("1 / 0", True), ("'yes'", True)]
)
def test_authorize_decides_and_a_fault_denies(site, answer, denied):
    with_hooks(site, f"def dataflare_authorize(principal, action, target): return {answer}", "authorize")
    host = start()
    if not denied:
        host.authorize("flow.stop", "orders")
        return
    with pytest.raises(PermissionDenied, match=r"permission\.denied"):
        host.authorize("flow.stop", "orders")


def test_the_first_who_decides_is_the_only_one_asked(site):
    with_hooks(site, "heard = []\ndef dataflare_authorize(action): return True", "authorize", id="alpha")
    with_hooks(site, "heard = []\ndef dataflare_authorize(action): heard.append(action)", "authorize", id="beta")
    start("alpha", "beta").authorize("flow.stop", "orders")
    assert heard("beta") == []


AUDIT = """
heard = []
def dataflare_audit(record): heard.append((record.phase, record.action, record.target, record.result))
"""


def test_a_read_of_a_secret_is_audited_before_and_after(site, monkeypatch):
    monkeypatch.setenv(variable("shop-token"), "s3cret")
    with_hooks(site, AUDIT, "audit")
    assert start().secret("shop-token", "orders") == "s3cret"
    assert heard() == [("before", "secret.read", "shop-token", ""), ("after", "secret.read", "shop-token", "done")]


def test_what_failed_is_audited_with_its_code(site):
    with_hooks(site, AUDIT, "audit")
    host = start()
    with pytest.raises(ConfigError):
        host.secret("nobody-has-it", "orders")
    with pytest.raises(ZeroDivisionError):
        host.change("acme.divide", "zero", lambda: 1 / 0)
    assert [result for phase, _, _, result in heard() if phase == "after"] == ["secret.unknown", "failed"]


def test_what_cannot_be_recorded_is_not_done(site):
    with_hooks(site, "def dataflare_audit(record): raise OSError('disk full')", "audit")
    done = []
    with pytest.raises(PermissionDenied, match=r"permission\.not_audited"):
        start().change("acme.work", "x", lambda: done.append(1))
    assert done == []


def test_events_are_told_in_order_and_a_slow_hook_holds_nobody(site):
    source = """
    import threading
    go = threading.Event()
    heard = []
    def dataflare_event(event):
        go.wait(10)
        heard.append((event.kind, event.sequence))
        if event.sequence == 1: raise RuntimeError("once")
    """
    with_hooks(site, source, "event")
    host = start()
    for kind in ("first", "second", "third"):
        host.emit(Event(kind))
    assert [event.kind for event in host.events(after=1)] == ["second", "third"]
    import testplugin_watch.hooks as module

    module.go.set()
    host.stop()
    assert heard() == [("first", 1), ("second", 2), ("third", 3)]
    assert host.hooks.faults == {("watch", "event"): 1}


def test_health_is_asked_and_a_fault_is_not_well(site):
    with_hooks(site, "def dataflare_health(host): return True, 'fine'", "health", id="alpha")
    with_hooks(site, "def dataflare_health(): raise OSError('gone')", "health", id="beta")
    health = start("alpha", "beta").health()
    assert health["alpha"] == (True, "fine")
    assert health["beta"][0] is False


def test_doctor_shows_what_hooks_found(site):
    source = """
    from dataflare.errors import Problem
    def dataflare_doctor(host): yield Problem("acme.disk", "the disk is nearly full")
    """
    with_hooks(site, source, "doctor")
    assert Problem("acme.disk", "the disk is nearly full") in start().doctor()


def test_an_answer_that_is_no_list_of_problems_is_a_fault(site):
    with_hooks(site, "def dataflare_check_plan(): return 42", "check_plan")
    assert [problem.code for problem in start().check_plan(PLAN)] == ["plugin.hook_failed"]


def test_hooks_can_be_called_from_many_threads(site):
    with_hooks(site, "heard = []\ndef dataflare_check_plan(plan): heard.append(plan.name)", "check_plan")
    host = start()
    threads = [threading.Thread(target=host.check_plan, args=(PLAN,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard() == ["orders"] * 8


def test_a_hook_nobody_declares_costs_no_import():
    hooks = Hooks(())
    assert hooks.call("doctor", host=None) == []
    assert "doctor" not in hooks
