"""The conformance suite of stores: what flows rely on, whatever things are kept in."""

from __future__ import annotations

from typing import Any, ClassVar

from dataflare.testing.store_contents import Contents
from dataflare.testing.store_kept import Open
from dataflare.testing.store_leases import Leases


def store_suite(start: Open, /, *, examples: int = 15) -> Any:
    """A test class for a store: ``TestMine = store_suite(opened)``.

    ``opened(folder)`` gives an open store whose place goes by the folder: two of one folder share what they keep (the
    folder itself, or a database or a schema named after it). ``examples``: how many sequences of things the model tries
    (needs hypothesis).
    """
    held = {"start": staticmethod(start), "examples": examples, "__doc__": StoreSuite.__doc__}
    return type("StoreSuite", (StoreSuite,), held)


class StoreSuite(Leases, Contents):
    """One owner at a time, all or nothing, and everything read back as it was committed."""

    examples: ClassVar[int]

    def test_any_order_of_things(self) -> None:
        """Two owners do anything to one place in any order; the store agrees with a few dictionaries."""
        from dataflare.testing.store_model import run_model

        run_model(type(self).start, self.examples)
