"""The control socket: who may talk, what is said, and what is left behind."""

import json
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dataflare.errors import ConfigError, Failed, StateError
from dataflare.guest.frames import Frame
from dataflare_host import Host, control
from dataflare_host.control_server import MAX_CONNECTIONS, Server

FLOW = "version: 1\nname: demo\nsources: {a: {uses: std/generate}}\nsinks: {b: {uses: std/count, from: a}}\n"


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "flow.yaml"
    path.write_text(FLOW)
    return path


def echo(name: str, args: dict) -> dict:
    if name == "refuse":
        raise Failed.of("step.bad", "no", fix="do not")
    if name == "crash":
        raise RuntimeError("boom")
    return {"name": name, **args}


def send(flow: Path, name: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
    with control.connected(flow.parent, "demo") as line:
        return line.ask(name, args or {})


def server(flow: Path, handler=echo) -> Server:
    return Server(flow.parent, "demo", handler, {"digest": "d"})


def test_a_command_and_its_answer(flow: Path) -> None:
    with server(flow):
        answer = send(flow, "edit", {"step": "ä", "position": [1]})
        assert answer == {"name": "edit", "step": "ä", "position": [1]}


def test_the_greeting_names_flow_and_process(flow: Path) -> None:
    assert control.flows_in(flow.parent) == []
    with server(flow):
        (hello,) = control.flows_in(flow.parent)
        assert (hello["flow"], hello["pid"], hello["digest"], hello["protocol"]) == ("demo", os.getpid(), "d", 1)
    assert control.flows_in(flow.parent) == []


def test_large_answers_travel_whole(flow: Path) -> None:
    rows = [{"n": n, "text": "x" * 50} for n in range(30_000)]
    with server(flow, lambda name, args: {"rows": rows}):
        assert send(flow, "tap") == {"rows": rows}


@pytest.mark.parametrize(("name", "code"), [("refuse", "step.bad"), ("crash", "internal.error")])
def test_a_refusal_comes_back_as_the_problem_it_was(flow: Path, name: str, code: str) -> None:
    with server(flow):
        with pytest.raises(Failed) as caught:
            send(flow, name)
        assert caught.value.code == code
        assert send(flow, "status") == {"name": "status"}


def test_nobody_there_is_said_with_the_place(flow: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        send(flow, "stop")
    assert caught.value.code == "run.not_running"
    assert ".dataflare/run/demo.sock" in str(caught.value)


def test_the_end_is_told_to_who_waits(flow: Path) -> None:
    told: list[dict] = []
    with server(flow) as listening, control.connected(flow.parent, "demo") as line:
        line.ask("stop", {})
        waiter = threading.Thread(target=lambda: told.append(line.wait(10)))
        waiter.start()
        listening.ended({"status": "stopped", "epoch": 3})
        listening.__exit__(None, None, None)
        waiter.join(10)
    assert told == [{"status": "stopped", "epoch": 3}]


def test_a_runner_that_dies_is_an_empty_end(flow: Path) -> None:
    child = holder(flow)
    with control.connected(flow.parent, "demo") as line:
        child.kill()
        child.wait()
        assert line.wait(10) == {}


def test_only_the_user_can_reach_it(flow: Path) -> None:
    with server(flow) as listening:
        assert listening.path is not None
        assert stat.S_IMODE(listening.path.stat().st_mode) == 0o600


def test_a_second_runner_is_refused_and_does_no_harm(flow: Path) -> None:
    with server(flow):
        with pytest.raises(StateError) as caught, server(flow):
            pass
        assert caught.value.code == "run.already_running"
        assert str(os.getpid()) in str(caught.value)
        assert send(flow, "status") == {"name": "status"}


def test_what_a_killed_runner_left_is_taken_over(flow: Path) -> None:
    child = holder(flow)
    child.kill()
    child.wait()
    assert (flow.parent / ".dataflare/run/demo.sock").exists()
    assert control.flows_in(flow.parent) == []
    with server(flow):
        assert send(flow, "status") == {"name": "status"}
    assert not (flow.parent / ".dataflare/run/demo.sock").exists()


def test_a_deep_folder_gets_a_short_socket_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = tmp_path.parents[1] / "t"
    short.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(short))
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    flow = deep / "flow.yaml"
    flow.write_text(FLOW)
    with server(flow) as listening:
        assert listening.path is not None
        assert len(os.fsencode(listening.path)) <= control.MAX_PATH
        assert stat.S_IMODE(listening.path.parent.stat().st_mode) == 0o700
        assert send(flow, "status") == {"name": "status"}


def test_a_flow_file_broken_while_it_runs_can_still_be_stopped(flow: Path) -> None:
    with server(flow), Host.start() as host:
        flow.write_text("version: [")
        assert host.command(str(flow), "stop", {}) == {"name": "stop"}


def test_of_several_flows_a_broken_file_means_none(flow: Path) -> None:
    other = Server(flow.parent, "other", echo, {})
    flow.write_text("version: [")
    with server(flow), other, Host.start() as host, pytest.raises(ConfigError) as caught:
        host.command(str(flow), "stop", {})
    assert caught.value.code == "flow.syntax"


def test_another_protocol_is_refused(flow: Path) -> None:
    with server(flow) as listening:
        listening.hello["protocol"] = 2
        with pytest.raises(Failed) as caught:
            send(flow, "status")
        assert caught.value.code == "run.protocol"


@pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", struct.pack("<I", 4) + b"what", struct.pack("<I", 2) + b"[]"])
def test_rubbish_ends_that_line_only(flow: Path, frame: bytes) -> None:
    with server(flow) as listening:
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(listening.path))
        raw.sendall(frame)
        raw.settimeout(10)
        while raw.recv(4096):
            pass
        raw.close()
        assert send(flow, "status") == {"name": "status"}


def test_a_runner_killed_in_the_middle_of_its_answer_did_not_answer(flow: Path) -> None:
    with server(flow) as listening:
        assert listening.path is not None
        path = listening.path
    dying = socket.socket(socket.AF_UNIX)
    dying.bind(str(path))
    dying.listen(1)

    def answer() -> None:
        line, _ = dying.accept()
        with line, dying:
            line.sendall(Frame({"op": "hello", "protocol": control.PROTOCOL, "flow": "demo"}).pack())
            line.recv(4096)
            line.sendall(Frame({"op": "answer", "ok": True}, [b'{"rows": []}']).pack()[:-3])

    killed = threading.Thread(target=answer)
    killed.start()
    with pytest.raises(Failed) as caught:
        send(flow, "status")
    killed.join(10)
    assert caught.value.code == "run.no_answer"


def test_too_many_lines_are_turned_away(flow: Path) -> None:
    with server(flow) as listening:
        lines = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS + 1)]
        for line in lines:
            line.settimeout(10)
            line.connect(str(listening.path))
        assert all(line.recv(1) for line in lines[:-1])
        assert lines[-1].recv(1) == b""
        for line in lines:
            line.close()


def test_a_folder_that_cannot_be_written_costs_only_the_socket(tmp_path: Path) -> None:
    (tmp_path / ".dataflare").write_text("a file where a folder should be")
    with Server(tmp_path, "demo", echo, {}) as listening:
        assert listening.path is None


def holder(flow: Path) -> subprocess.Popen[bytes]:
    """Another process that runs the flow, as far as the socket goes; ready when this returns."""
    code = f"""
import time, pathlib, sys
from dataflare_host.control_server import Server
with Server(pathlib.Path({json.dumps(str(flow.parent))}), "demo", lambda name, args: {{}}, {{}}):
    print("ready", flush=True)
    sys.stdin.read()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child
