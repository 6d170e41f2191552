"""JavaScript in the sandbox beside Node, on one script: ``python bench/javascript.py [ROUNDS]``. Needs `node`.

A batch is a frame with 1,000 records as JSON (W1's, 183 KB): parse, keep `temperature > 20`, add a field, make JSON
again. Rounds alternate; a ratio is the median of those within the rounds; all must give the same rows. A plugin with
the SDK is one of ``examples/plugins``, bundled as its author would (`npm`). On a busy machine trust CPU time.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data import readings

from dataflare.guest import Frame
from dataflare.hosting import Limits
from dataflare_js.engines import choose
from dataflare_js.guest import Bundle, JavaScriptGuest
from dataflare_js.places import Places
from dataflare_wasm.engine import engine

ROWS, WARM, CALLS = 1000, 50, 150
SCRIPT = """\
const decoder = new TextDecoder(), encoder = new TextEncoder();
exports.handle = (request) => {
  const end = 4 + new DataView(request.buffer, request.byteOffset).getUint32(0, true);
  const { op, parts: [size] } = JSON.parse(decoder.decode(request.subarray(4, end)));
  let part = request.subarray(end, end + size);
  if (op === "process") {
    const rows = JSON.parse(decoder.decode(part)).filter((row) => row.temperature > 20);
    for (const row of rows) row.hot = row.temperature > 30;
    part = encoder.encode(JSON.stringify(rows));
  }
  const header = encoder.encode(JSON.stringify({ outputs: [{ name: "", part: 0 }], parts: [part.length] }));
  const answer = new Uint8Array(4 + header.length + part.length);
  new DataView(answer.buffer).setUint32(0, header.length, true);
  answer.set(header, 4);
  answer.set(part, 4 + header.length);
  return answer;
};
"""
NODE = """\
const { readFileSync } = require("node:fs");
const { createHash } = require("node:crypto");
const [file, frame, warm, calls] = process.argv.slice(2);
const { handle } = require(file);
const request = new Uint8Array(readFileSync(frame));
for (let i = 0; i < warm; i++) handle(request);
const taken = [];
let answer;
const before = process.cpuUsage();
for (let i = 0; i < calls; i++) {
  const begun = process.hrtime.bigint();
  answer = handle(request);
  taken.push(Number(process.hrtime.bigint() - begun) / 1e9);
}
const { user, system } = process.cpuUsage(before);
const parts = answer.subarray(4 + new DataView(answer.buffer, answer.byteOffset).getUint32(0, true));
const digest = createHash("sha256").update(parts).digest("hex");
console.log(JSON.stringify({ taken, cpu: (user + system) / 1e6 / calls, digest }));
"""


@dataclass(frozen=True)
class Measured:
    """Seconds of a call (the median), CPU seconds of a call (the mean), and the digest of its answer."""

    wall: float
    cpu: float
    digest: str


def records() -> bytes:
    """The first 1,000 records of W1."""
    return b"[" + b",".join(readings(ROWS).read_bytes().splitlines()) + b"]"


def bundle(name: str, script: str) -> Bundle:
    """A script, to be run by an engine."""
    chosen, machine = choose(name), engine()
    return Bundle("bench", script.encode(), Places(), machine, chosen.module(machine), chosen.memory(None), Limits())


def by_engine(name: str, request: Frame) -> Measured:
    """A guest of its own, called as the host calls it."""
    guest, taken = JavaScriptGuest(bundle(name, SCRIPT)), []
    for _ in range(WARM):
        answer = guest.call(request, lambda _: Frame({}), 60)
    before = time.thread_time()
    for _ in range(CALLS):
        begun = time.perf_counter()
        answer = guest.call(request, lambda _: Frame({}), 60)
        taken.append(time.perf_counter() - begun)
    cpu = (time.thread_time() - before) / CALLS
    digest = hashlib.sha256(b"".join(answer.parts)).hexdigest()
    guest.close()
    return Measured(statistics.median(taken), cpu, digest)


def by_node(folder: Path, request: Frame) -> Measured:
    """A process of its own; only the calls count, its compiler and collector with them."""
    for name, text in (("plugin.js", SCRIPT), ("node.cjs", NODE)):
        (folder / name).write_text(text)
    (folder / "frame").write_bytes(request.pack())
    words = ["node", "node.cjs", str(folder / "plugin.js"), "frame", str(WARM * 4), str(CALLS)]
    told = json.loads(subprocess.run(words, cwd=folder, check=True, capture_output=True).stdout)
    return Measured(statistics.median(told["taken"]), told["cpu"], told["digest"])


def throughput(rounds: int) -> None:
    """The table of engines beside Node."""
    request = Frame({"op": "process", "instance": 1}, [records()])
    with tempfile.TemporaryDirectory() as made:
        contenders: dict[str, Callable[[], Measured]] = {
            "Node": lambda: by_node(Path(made), request),
            "starling": lambda: by_engine("starling", request),
            "quickjs": lambda: by_engine("quickjs", request),
            "Node again (A/A)": lambda: by_node(Path(made), request),
        }
        found: dict[str, list[Measured]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, measure in contenders.items():
                found[name].append(measure())
    if len({each.digest for several in found.values() for each in several}) != 1:
        raise SystemExit("void: the answers differ")
    print(f"\nA batch of {ROWS:,} records, {len(request.parts[0]):,} bytes; {rounds} rounds\n")
    print("| what | ms a batch | records/s | CPU ms | of Node's speed | by CPU |\n|---|---|---|---|---|---|")
    for name, each in found.items():
        wall, cpu = statistics.median(one.wall for one in each), statistics.median(one.cpu for one in each)
        pairs = list(zip(found["Node"], each, strict=True))
        ratio = statistics.median(node.wall / own.wall for node, own in pairs)
        by_cpu = statistics.median(node.cpu / own.cpu for node, own in pairs)
        speed = ROWS / wall / 1e3
        print(f"| {name} | {wall * 1e3:.2f} | {speed:,.0f}k | {cpu * 1e3:.2f} | {ratio:.2f} | {by_cpu:.2f} |")


def with_sdk() -> str:
    """A plugin with the SDK for TypeScript, bundled with what npm has now."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as made:
        shutil.copytree(root / "sdk-js", Path(made, "sdk"), ignore=shutil.ignore_patterns("node_modules"))
        shutil.copytree(root / "examples/plugins/user-agent/src", Path(made, "src"))
        Path(made, "package.json").write_text('{"private": true, "type": "module"}')
        install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", "./sdk"]
        for words in (install, ["node_modules/.bin/dataflare-bundle", "src/plugin.ts", "plugin.js"]):
            subprocess.run(words, cwd=made, check=True, capture_output=True)
        return Path(made, "plugin.js").read_text("utf-8")


def loading() -> None:
    """The table of what it takes to have a plugin running, and of what each costs."""
    head = "first in a process ms | another plugin ms | an empty call µs | 1 MB there and back ms | MB each |"
    print(f"\n| engine | script | {head}\n|---|---|---|---|---|---|---|")
    scripts = {"bare": SCRIPT, "with the SDK": with_sdk(), "bare again (A/A)": SCRIPT}
    for name in ("starling", "quickjs"):
        for told, script in scripts.items():
            begun = time.perf_counter()
            bundle(name, script)
            first = time.perf_counter() - begun
            starts, guests = [], []
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(20):
                begun = time.perf_counter()
                guests.append(JavaScriptGuest(bundle(name, script)))
                starts.append(time.perf_counter() - begun)
            size = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 / len(guests)
            cells = [f"{first * 1e3:.1f}", f"{statistics.median(starts) * 1e3:.2f}"]
            if script is SCRIPT:
                empty, large = (echo(guests[0], bytes(length)) for length in (0, 1 << 20))
                cells += [f"{empty * 1e6:.0f}", f"{large * 1e3:.2f}"]
            else:
                cells += ["", ""]
            print(f"| {name} | {told} | {' | '.join(cells)} | {size:.1f} |")


def echo(guest: JavaScriptGuest, part: bytes) -> float:
    """Seconds of a call that gives back what it got."""
    taken = []
    for _ in range(100):
        begun = time.perf_counter()
        guest.call(Frame({"op": "echo"}, [part]), lambda _: Frame({}), 60)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


if __name__ == "__main__":
    loading()
    throughput(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
