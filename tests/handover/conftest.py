"""A project with an inline plugin, and its flow as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from handed import Launched, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def launched(project: Project) -> Iterator[Launched]:
    made = Launched(project)
    made.until(2)
    yield made
    made.close()
