"""Errors with exit codes of their own, which scripts that look after plugins tell apart."""

from __future__ import annotations

from dataflare.errors import ConfigError, Failed, Kind


class NoSolution(ConfigError):
    """No versions go together. ``details`` of its problem: ``core``, ``chains``, ``fixes``."""

    exit_code = 3


class NotTrusted(Failed):
    """What an index or a file says is not to be believed. ``details`` of its problem: ``attack``, by name."""

    exit_code = 4


class NotAccepted(Failed):
    """Something changed that somebody has to accept first. ``details`` of its problem: ``waits``."""

    kind: Kind = "config"
    exit_code = 5
