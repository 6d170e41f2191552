"""The soak script, for a few kills."""

import pytest
from soak import main


def test_a_few_random_kills(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kills", "4", "--minutes", "1", "--seed", "3"]) == 0
    assert "0 did not hold" in capsys.readouterr().out
