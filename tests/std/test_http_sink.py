"""The HTTP sink against a real server: keys, retries, refusals, lost answers, crashes in the middle of an epoch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dataflare import Batch, ConfigError, Context, Failed, Resume, Retry, Secret
from dataflare.drive import SinkDriver, driver_for
from dataflare.testing import sink_suite
from dataflare_std.http.sink import Http

Script = Callable[["Service", Any, int], int | tuple[int, dict[str, str]] | None]


class Service:
    """A service that honours keys; ``script`` says what becomes of the n-th request: a status, or None: no answer."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.taken: dict[str, list[dict[str, Any]]] = {}
        self.headers: list[dict[str, str]] = []
        self.release = threading.Event()
        self.script: Script = lambda service, request, number: 200
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                key = self.headers["Idempotency-Key"]
                service.requests.append(key)
                service.headers.append(dict(self.headers))
                told = service.script(service, self, len(service.requests))
                status, more = told if isinstance(told, tuple) else (told, {})
                if status is None or status == 200:
                    rows = json.loads(body) if body.startswith(b"[") else list(map(json.loads, body.splitlines()))
                    service.taken.setdefault(key, rows)
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**more, "Content-Length": "4"}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"told")

            do_POST = do_PUT = handle_any

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/readings"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def rows(self) -> list[dict[str, Any]]:
        return [row for rows in self.taken.values() for row in rows]

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


def opened(service: Service, folder: Path, *, fence: int = 1, resume: Resume = Resume(), **config: Any) -> SinkDriver:
    ctx = Context(flow="shop", step="out", fence=fence, incarnation="life-1", base=folder, cache=folder / "cache")
    driver = driver_for(Http(**{"url": service.url, "request_rows": 2, **config}), ctx)
    assert isinstance(driver, SinkDriver)
    driver.open(resume)
    return driver


def prepared(driver: SinkDriver, epoch: int, rows: Any) -> Any:
    driver.begin(epoch)
    assert driver.write(Batch.of(rows)) == []
    return driver.prepare(epoch, False)


FIVE = {"n": [1, 2, 3, 4, 5]}


def test_nothing_is_sent_before_the_decision_then_everything_in_order(service: Service, tmp_path: Path) -> None:
    sink = opened(service, tmp_path)
    token = prepared(sink, 1, FIVE)
    assert service.requests == []
    sink.commit(1, [token])
    sink.commit(1, [token])
    assert [[row["n"] for row in rows] for rows in service.taken.values()] == [[1, 2], [3, 4], [5]]
    assert len(service.requests) == len(set(service.requests)) == 3
    sink.close()


@pytest.mark.parametrize(("form", "media"), [("json", "application/json"), ("jsonl", "application/x-ndjson")])
def test_forms_headers_and_secrets(service: Service, tmp_path: Path, form: str, media: str) -> None:
    headers = {"Authorization": Secret("Bearer hidden", reference="TOKEN"), "X-Shop": "eu"}
    sink = opened(service, tmp_path, format=form, method="PUT", headers=headers)
    sink.commit(1, [prepared(sink, 1, {"n": [1], "name": ["ä"]})])
    assert service.rows() == [{"n": 1, "name": "ä"}]
    sent = service.headers[0]
    assert (sent["Content-Type"], sent["Authorization"], sent["X-Shop"]) == (media, "Bearer hidden", "eu")
    sink.close()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_what_passes_is_asked_again_and_goes_on_where_it_stopped(service: Service, tmp_path: Path, status: int) -> None:
    service.script = lambda service, request, number: (status, {"Retry-After": "7"}) if number == 2 else 200
    sink = opened(service, tmp_path)
    token = prepared(sink, 1, FIVE)
    with pytest.raises(Retry) as caught:
        sink.commit(1, [token])
    assert caught.value.after == 7
    assert str(status) in str(caught.value)
    sink.commit(1, [token])
    assert [row["n"] for row in service.rows()] == FIVE["n"]
    first, second, again, third = service.requests
    assert (second, len({first, second, third})) == (again, 3)
    sink.close()


def test_retry_after_may_be_a_date(service: Service, tmp_path: Path) -> None:
    service.script = lambda service, request, number: (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    sink = opened(service, tmp_path)
    with pytest.raises(Retry) as caught:
        sink.commit(1, [prepared(sink, 1, FIVE)])
    assert caught.value.after == 0
    sink.close()


@pytest.mark.parametrize(
    ("status", "code"), [(400, "http.refused"), (422, "http.refused"), (401, "http.not_allowed"), (308, "http.moved")]
)
def test_a_refusal_for_good_is_told_and_a_mended_service_gets_the_rest(
    service: Service, tmp_path: Path, status: int, code: str
) -> None:
    service.script = lambda service, request, number: status if number == 2 else 200
    sink = opened(service, tmp_path)
    token = prepared(sink, 1, FIVE)
    with pytest.raises(Failed) as caught:
        sink.commit(1, [token])
    assert (caught.value.code, caught.value.problems[0].kind) == (code, "fatal")
    sink.commit(1, [token])
    assert [row["n"] for row in service.rows()] == FIVE["n"]
    assert len(service.requests) == 4
    sink.close()


def test_an_answer_that_is_lost_is_asked_for_again_with_the_same_key(service: Service, tmp_path: Path) -> None:
    service.script = lambda service, request, number: None if number == 1 else 200
    sink = opened(service, tmp_path)
    token = prepared(sink, 1, FIVE)
    with pytest.raises(Retry):
        sink.commit(1, [token])
    sink.commit(1, [token])
    assert service.requests[0] == service.requests[1]
    assert [row["n"] for row in service.rows()] == FIVE["n"]
    sink.close()


def test_an_answer_that_comes_too_late_counts_once(service: Service, tmp_path: Path) -> None:
    def late(service: Service, request: Any, number: int) -> int:
        if number == 1:
            service.release.wait(30)
        return 200

    service.script = late
    sink = opened(service, tmp_path, timeout="50ms")
    token = prepared(sink, 1, {"n": [1]})
    with pytest.raises(Retry):
        sink.commit(1, [token])
    service.release.set()
    slow = opened(service, tmp_path, fence=2, resume=Resume(epoch=1, tokens={"0": token}))
    slow.commit(1, [token])
    assert (service.rows(), len(set(service.requests))) == ([{"n": 1}], 1)
    sink.close()
    slow.close()


def test_a_service_that_is_down_and_one_that_has_no_address(service: Service, tmp_path: Path) -> None:
    sink = opened(service, tmp_path, url=Secret(service.url.replace("http://", "http://u:hidden@") + "?key=hidden"))
    token = prepared(sink, 1, FIVE)
    service.close()
    with pytest.raises(Retry) as caught:
        sink.commit(1, [token])
    assert "hidden" not in str(caught.value)
    sink.close()
    for url in ("ftp://host/x", "readings", "http://"):
        with pytest.raises(ConfigError) as refused:
            opened(service, tmp_path, url=url)
        assert refused.value.code == "http.url"


FLOW = """
version: 1
name: post
sources:
  made: {{uses: std/generate, with: {{rows: 40, columns: {{n: sequence}}}}}}
sinks:
  out: {{uses: std/http, from: made, with: {{url: "{url}", request_rows: 10}}}}
state: {{uses: state/sqlite, with: {{path: state.db}}}}
"""


def run(flow: Path, crash: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATAFLARE_CRASH": crash, "DATAFLARE_CACHE": str(flow.parent / "cache")}
    command = [sys.executable, "-m", "dataflare_host", "run", str(flow), "--json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_killed_while_sending_and_run_again_only_the_last_request_comes_twice(service: Service, tmp_path: Path) -> None:
    flow = tmp_path / "flow.yaml"
    flow.write_text(FLOW.format(url=service.url))
    assert run(flow, "sink-send:2").returncode == -signal.SIGKILL
    done = run(flow, "")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["guarantee"] == "exactly_once"
    assert sorted(row["n"] for row in service.rows()) == list(range(40))
    assert len(service.requests) == len(set(service.requests)) + 1


Suite: Any = sink_suite(Http, [{"n": 1}, {"n": 2}, {"n": 3}], None, lambda config: SERVICES[config["url"]].rows())
SERVICES: dict[str, Service] = {}


class TestConformance(Suite):
    """What every staged sink keeps."""

    @pytest.fixture(autouse=True)
    def _served(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        SERVICES[service.url] = service
        monkeypatch.setattr(type(self), "config", {"url": service.url, "request_rows": 2})
