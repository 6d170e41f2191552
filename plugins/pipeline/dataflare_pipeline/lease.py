"""The lease of a region: taken by compare-and-set, kept by a heartbeat, never believed from a clock.

A waiter watches for a heartbeat that does not move, on its own monotonic clock, then takes the next token
(CONTRACT §6). A holder on this machine whose process is gone is replaced at once.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

from dataflare.errors import Fenced, StateError
from dataflare_host.checkpoint import LeaseInfo
from dataflare_host.kinds import Store

BEAT = 1.0
PATIENCE = 10.0


def _process_start(pid: int) -> str:
    """What tells two processes with one pid apart; empty where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def owner() -> str:
    """This process, so that others can tell whether it still lives."""
    pid = os.getpid()
    return json.dumps(
        {
            "pid": pid,
            "host": socket.gethostname(),
            "start": _process_start(pid),
            "boot": _boot(),
            "nonce": uuid.uuid4().hex,
        }
    )


def _is_dead(info: LeaseInfo) -> bool:
    """True only where the holder ran on this machine and surely is gone."""
    try:
        held = json.loads(info.owner)
    except ValueError:
        return False
    if held.get("host") != socket.gethostname() or not held.get("boot"):
        return False
    if held["boot"] != _boot():
        return True
    try:
        os.kill(int(held["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, KeyError):
        return False
    start = _process_start(int(held["pid"]))
    return bool(start) and start != held.get("start")


class Lease:
    """A region's lease, held. ``token`` fences every write; ``lost`` is set once a newer one exists."""

    def __init__(self, store: Store, flow: str, region: str, on_lost: Callable[[], None]) -> None:
        self.flow = flow
        self.region = region
        self.token = 0
        self.lost = threading.Event()
        self._store = store
        self._on_lost = on_lost
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, cancelled: threading.Event, patience: float = PATIENCE) -> int:
        """Take the lease; the new token. Raises StateError ``run.already_running`` if somebody alive holds it."""
        while True:
            info = self._store.lease_info(self.flow, self.region)
            if info is not None and not info.released and not _is_dead(info):
                self._watch(info, cancelled, patience)
            try:
                self.token = self._store.lease(self.flow, self.region, owner(), info.token if info else 0)
            except Fenced:
                continue
            self._thread = threading.Thread(target=self._beat, name=f"lease-{self.region}", daemon=True)
            self._thread.start()
            return self.token

    def _watch(self, info: LeaseInfo, cancelled: threading.Event, patience: float) -> None:
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if cancelled.wait(BEAT / 10):
                raise StateError.of("run.cancelled", "stopped while waiting for the lease")
            now = self._store.lease_info(self.flow, self.region)
            if now is None or now.token != info.token or now.released or _is_dead(now):
                return
            if now.beat != info.beat:
                raise StateError.of(
                    "run.already_running",
                    f"the flow `{self.flow}` is already running",
                    cause=f"its lease is held by {_describe(info)}",
                    fix="stop that run first (`dataflare flow stop`), or give this flow a store of its own",
                )

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                self._store.beat(self.flow, self.region, self.token)
            except Fenced:
                self.lost.set()
                self._on_lost()
                return
            except StateError:
                continue

    def release(self) -> None:
        """Stop the heartbeat and give the lease back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._store.release(self.flow, self.region, self.token)


def _describe(info: LeaseInfo) -> str:
    try:
        held = json.loads(info.owner)
        return f"process {held['pid']} on {held['host']} (token {info.token})"
    except (ValueError, KeyError):
        return f"token {info.token}"
