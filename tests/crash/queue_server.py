"""A queue as others run them: it delivers, and forgets what is acknowledged; anything else comes again.

``python queue_server.py SOCKET``. A request and its answer are lines of JSON. Each queue starts with 300 messages.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading

MESSAGES = 300
lock = threading.Lock()
queues: dict[str, dict[int, int]] = {}
"""Queue → id → number: what is waiting for delivery."""
acknowledged: dict[str, list[int]] = {}


class Consumer(socketserver.StreamRequestHandler):
    """One connection; what it was given and has not acknowledged goes back when it ends."""

    def handle(self) -> None:
        out: dict[str, dict[int, int]] = {}
        try:
            for line in self.rfile:
                request = json.loads(line)
                with lock:
                    answer = self.answer(request, out)
                self.wfile.write(json.dumps(answer).encode() + b"\n")
        except (ConnectionError, ValueError):
            pass  # killed in the middle of a line
        finally:
            with lock:
                for name, messages in out.items():
                    queues[name] = dict(sorted({**queues[name], **messages}.items()))

    def answer(self, request: dict, out: dict[str, dict[int, int]]) -> object:
        name = request["queue"]
        waiting = queues.setdefault(name, {id: id * 7 for id in range(1, MESSAGES + 1)})
        mine = out.setdefault(name, {})
        if request["op"] == "get":
            given = {id: waiting.pop(id) for id in list(waiting)[: request["most"]]}
            mine.update(given)
            return [[id, number] for id, number in given.items()]
        if request["op"] == "acknowledge":
            done = [id for id in [*mine, *waiting] if id <= request["up_to"]]
            for id in done:
                mine.pop(id, None)
                waiting.pop(id, None)
            acknowledged.setdefault(name, []).extend(done)
            return len(done)
        return {"left": len(waiting) + sum(map(len, [mine])), "acknowledged": len(acknowledged.get(name, []))}


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    with Server(sys.argv[1], Consumer) as server:
        print("ready", flush=True)
        server.serve_forever()
