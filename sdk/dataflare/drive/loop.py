"""The event loop of one lane: async operations run on it, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class LaneLoop:
    """A loop made at the first async call. ``run`` belongs to the lane's thread, ``beside`` to any."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = threading.RLock()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for the answer."""
        with self._turn:
            return self._ready().run_until_complete(_awaited(awaitable))

    def start(self, awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
        """A task on the loop; it moves while ``run`` waits for something."""
        import asyncio

        with self._turn:
            return asyncio.ensure_future(_awaited(awaitable), loop=self._ready())

    def wait(self, task: asyncio.Future[Any], seconds: float) -> bool:
        """Let the task move for so long; True once it is done."""
        import asyncio

        if not task.done():
            self.run(asyncio.wait({task}, timeout=seconds))
        return task.done()

    def beside(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for the answer from any thread, also while the lane awaits something itself."""
        import asyncio

        while True:
            if self._turn.acquire(timeout=0.005):
                try:
                    return self.run(awaitable)
                finally:
                    self._turn.release()
            if (loop := self._loop) is not None:
                break
        waiting = asyncio.run_coroutine_threadsafe(_awaited(awaitable), loop)
        while True:
            try:
                return waiting.result(timeout=0.01)
            except TimeoutError:
                if waiting.done():
                    return waiting.result()
                self._move(loop, waiting)

    def _move(self, loop: asyncio.AbstractEventLoop, waiting: Any) -> None:
        # The lane may have stopped awaiting in the meantime: then nobody but us moves the loop.
        import asyncio

        if self._turn.acquire(blocking=False):
            try:
                loop.run_until_complete(asyncio.wrap_future(waiting, loop=loop))
            finally:
                self._turn.release()

    def close(self) -> None:
        """Cancel what still runs and close the loop."""
        if self._loop is None:
            return
        import asyncio

        with self._turn:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._loop = None

    def _ready(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
        return self._loop


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
