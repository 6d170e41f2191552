"""Who holds a lease: a process that others can recognise, and tell for dead if it is."""

from __future__ import annotations

import json
import os
import socket
import uuid
from pathlib import Path

from dataflare.checkpoint import LeaseInfo


def this_process() -> str:
    """This process as the owner of a lease, so that others can tell whether it still lives."""
    pid = os.getpid()
    told = {"pid": pid, "host": socket.gethostname(), "start": _start_of(pid), "boot": _boot()}
    return json.dumps({**told, "nonce": uuid.uuid4().hex})


def is_dead(info: LeaseInfo) -> bool:
    """True only where the holder ran on this machine and surely is gone."""
    held = _told(info)
    if held.get("host") != socket.gethostname() or not held.get("boot"):
        return False
    if held["boot"] != _boot():
        return True
    try:
        os.kill(int(str(held["pid"])), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, KeyError, TypeError):
        return False
    start = _start_of(int(str(held["pid"])))
    return bool(start) and start != held.get("start")


def described(info: LeaseInfo) -> str:
    """The holder for people: ``process 4711 on box (token 3)``."""
    held = _told(info)
    if "pid" not in held or "host" not in held:
        return f"token {info.token}"
    return f"process {held['pid']} on {held['host']} (token {info.token})"


def _told(info: LeaseInfo) -> dict[str, object]:
    try:
        held = json.loads(info.owner)
    except ValueError:
        return {}
    return held if isinstance(held, dict) else {}


def _start_of(pid: int) -> str:
    """What tells two processes with one pid apart; empty where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
