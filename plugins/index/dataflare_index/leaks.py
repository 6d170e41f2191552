"""Looks for secrets in the files of a wheel, before the whole world has them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

NAMES = re.compile(
    r"(?i)^(\.env(\..*)?|\.npmrc|\.pypirc|\.netrc|\.htpasswd|id_(rsa|dsa|ecdsa|ed25519)|.*\.(p12|pfx|jks))$"
)
KNOWN: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40}")),
    ("an AWS access key", re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b")),
    ("a GitLab token", re.compile(rb"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("a Slack token", re.compile(rb"\bxox[abeoprs]-[A-Za-z0-9-]{20,}")),
    ("a Google key", re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("a Stripe key", re.compile(rb"\b[rs]k_live_[0-9A-Za-z]{20,}\b")),
    ("a token of a package registry", re.compile(rb"\b(?:pypi-AgE[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36})\b")),
    ("a signed token", re.compile(rb"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,}")),
    (
        "a password in an address",
        re.compile(rb"\b[a-z][a-z0-9+.-]{2,15}://[^\s:/@\"'{}$<>]{1,60}:([^\s:/@\"'{}$<>]{6,80})@"),
    ),
)
NAMED = re.compile(
    rb"(?i)(?:password|passwd|secret|api_?key|access_?key|auth_?token|token)[\"']?\s*[:=]\s*[\"']([^\"'\s]{16,120})[\"']"
)
"""Something that is called a secret, and given a value."""
RANDOM = 3.6
"""Bits a character from which such a value is taken for one."""
EXAMPLES = re.compile(rb"(?i)example|changeme|placeholder|your[_-]|xxxx|\$\{|\{\{|<")


@dataclass(frozen=True)
class Leak:
    """A place that looks like a secret; the secret itself is not told."""

    file: str
    line: int
    what: str


def leaks(files: Mapping[str, bytes], seen: Iterable[str] = ()) -> Iterator[Leak]:
    """What looks like a secret, but for files that somebody has ``seen``."""
    passed = {*seen}
    for name, content in files.items():
        if name in passed or name.endswith(".dist-info/RECORD"):
            continue
        if NAMES.match(PurePosixPath(name).name):
            yield Leak(name, 1, "a file that holds secrets, by its name")
            continue
        for what, pattern in KNOWN:
            for match in pattern.finditer(content):
                if not EXAMPLES.search(match[0]):
                    yield Leak(name, _line(content, match.start()), what)
        if b"\0" not in content[:4096]:
            for match in NAMED.finditer(content):
                if not EXAMPLES.search(match[1]) and _bits(match[1]) >= RANDOM:
                    yield Leak(name, _line(content, match.start()), "a value that looks random, and is called a secret")


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def _bits(value: bytes) -> float:
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
