"""Test components as the engine runs them, without an engine.

::

    from dataflare.testing import process, read, source_suite

    TestNumbers = source_suite(numbers, count=10, step=4)   # conformance: spec, resume, determinism, close

    def test_a_batch_never_passes_the_end():
        assert read(numbers, count=10, step=4).positions == [4, 8, 10]
"""

from dataflare.testing.bench import Bench, Rejection, Results, Snapshot, process
from dataflare.testing.crash_suite import Crashes, crash_suite
from dataflare.testing.flows import FlowResult, run_flow
from dataflare.testing.processor_suite import processor_suite
from dataflare.testing.reading import Readings, read
from dataflare.testing.sink_suite import sink_suite
from dataflare.testing.source_suite import source_suite
from dataflare.testing.store_suite import store_suite
from dataflare.testing.surroundings import call, component, context
from dataflare.testing.writing import Epochs, Written, write

__all__ = [
    "Bench",
    "Crashes",
    "Epochs",
    "FlowResult",
    "Readings",
    "Rejection",
    "Results",
    "Snapshot",
    "Written",
    "call",
    "component",
    "context",
    "crash_suite",
    "process",
    "processor_suite",
    "read",
    "run_flow",
    "sink_suite",
    "source_suite",
    "store_suite",
    "write",
]
