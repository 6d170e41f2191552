"""A bundled plugin under Node, as a transport of frames."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataflare.guest import Frame
from dataflare.hosting import lost


class Piped:
    """Carries frames over standard input and output to a plugin that ``serve.mjs`` of an SDK's folder runs."""

    def __init__(self, sdk: Path, bundle: Path) -> None:
        words = ["node", str(sdk / "serve.mjs"), str(bundle)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, request: Frame, answering: Callable[[Frame], Frame], seconds: float) -> Frame:
        """The plugin's answer; its questions are answered meanwhile."""
        sending: Any = self._process.stdin
        receiving: Any = self._process.stdout
        request.write(sending)
        while (answer := Frame.read(receiving)) is not None and "op" in answer.header:
            answering(answer).write(sending)
        if answer is None:
            raise lost("guest.exited", "piped", request, "it ended")
        return answer

    def close(self) -> None:
        """End it by the end of its input."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()


def bundle(sdk: Path, entry: str | Path, folder: Path) -> Path:
    """Bundle a module of the SDK's folder."""
    made = folder / "plugin.js"
    words = ["node", "bundle.mjs", str(entry), str(made)]
    done = subprocess.run(words, cwd=sdk, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return made
