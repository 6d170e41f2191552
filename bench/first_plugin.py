"""Does what docs/first-plugin.md says, for each language and kind, and prints how long each step took.

    python bench/first_plugin.py                          # all sixteen
    python bench/first_plugin.py --lang go --kind source

The commands are read from the page; only the language is another one. What the page leaves to the reader is done here:
a sink's requests go to a server on this machine, which is granted by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "first-plugin.md"
LANGUAGES = ("python", "go", "ts", "js")
KINDS = {"processor": "A step", "source": "A source", "sink": "A sink", "tool": "A tool"}
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.M | re.S)
STEPS = ("new", "test", "build", "verify", "add", "run")
PEOPLE = '{"id": 1, "email": "ada@example.com"}\n'


def main() -> int:
    """Replay the page, and print a line for each plugin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lang", choices=LANGUAGES, action="append")
    parser.add_argument("--kind", choices=KINDS, action="append")
    wanted = parser.parse_args()
    print("language  kind       " + "".join(f"{step:>8}" for step in STEPS) + "   total")
    for language in wanted.lang or LANGUAGES:
        for kind in wanted.kind or KINDS:
            with tempfile.TemporaryDirectory(prefix="first-plugin-") as folder:
                spent = replayed(language, kind, Path(folder))
            told = "".join(f"{spent.get(step, 0.0):>6.1f} s" for step in STEPS)
            print(f"{language:<9} {kind:<10} {told}  {sum(spent.values()):>5.1f} s", flush=True)
    return 0


def replayed(language: str, kind: str, folder: Path) -> dict[str, float]:
    """The seconds of each step of a section of the page. Ends the program where a command fails."""
    spent: dict[str, float] = {}
    (folder / "people.jsonl").write_text(PEOPLE, "utf-8")  # as the page's first section leaves it
    for form, text in BLOCK.findall(section(KINDS[kind])):
        if form == "yaml":
            name, flow = text.removeprefix("# ").split("\n", 1)
            (folder / name).write_text(flow, "utf-8")
            continue
        for line in text.splitlines():
            began = time.monotonic()
            ran(line.replace("--lang python", f"--lang {language}"), folder)
            step = step_of(line)
            spent[step] = spent.get(step, 0.0) + time.monotonic() - began
    if kind == "sink":
        began = time.monotonic()
        posted(folder)
        spent["run"] = spent.get("run", 0.0) + time.monotonic() - began
    return spent


def section(title: str) -> str:
    """The text of a section of the page."""
    text = PAGE.read_text("utf-8")
    found = re.search(rf"^## {title}\n(.*?)(?=^## )", text, re.M | re.S)
    assert found is not None, f"{PAGE} has no section `{title}`"
    return found[1]


def step_of(line: str) -> str:
    """Which step a command belongs to."""
    told = re.match(r"dataflare plugin (\w+)", line)
    return told[1] if told else "run"


def ran(line: str, folder: Path) -> None:
    """Run a line of the page as a person would."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        sys.exit(f"{line}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def posted(folder: Path) -> None:
    """Run the flow of the sink against a server on this machine, and see that the row came."""
    granted, flow = folder / "plugins.toml", folder / "post.yaml"
    rule = granted.read_text("utf-8").replace('methods = ["POST"]', 'methods = ["POST"], networks = ["127.0.0.0/8"]')
    granted.write_text(rule, "utf-8")
    with service() as (port, bodies):
        flow.write_text(flow.read_text("utf-8").replace(":8080", f":{port}"), "utf-8")
        ran("dataflare run post.yaml", folder)
    if not any("ada@example.com" in body for body in bodies):
        sys.exit(f"the row did not come: {bodies}")


@contextmanager
def service() -> Iterator[tuple[int, list[str]]]:
    """A server on a free port of this machine that takes whatever is posted."""
    bodies: list[str] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], bodies
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
