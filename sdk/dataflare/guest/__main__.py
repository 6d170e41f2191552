"""``python -m dataflare.guest MODULE``: serves the components of a module over standard input and output.

Frames are the only thing on the real standard output; what a plugin prints goes to standard error.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading

from dataflare.declare import component_class
from dataflare.errors import Failed
from dataflare.guest.frames import Frame
from dataflare.guest.serving import Guest


def main() -> int:
    """Serve until standard input ends; then close what is open."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    asking = threading.Lock()

    def ask(frame: Frame) -> Frame:
        # A component may ask from several of its own threads; the host answers one question at a time.
        with asking:
            frame.write(answers)
            answer = Frame.read(requests)
        if answer is None:
            raise Failed.of("guest.host_gone", "the host has gone")
        return answer

    module = importlib.import_module(sys.argv[1])
    found = (component_class(value) for name, value in vars(module).items() if not name.startswith("_"))
    guest = Guest([made for made in found if made is not None], ask)
    try:
        while (frame := Frame.read(requests)) is not None:
            guest.handle(frame).write(answers)
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        guest.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
