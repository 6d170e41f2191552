"""The conformance suites of the testing kit on the components of this bundle."""

from __future__ import annotations

from dataflare.testing import processor_suite, source_suite
from dataflare_std.dedupe import Dedupe
from dataflare_std.expressions import Compute, Filter, Select
from dataflare_std.generate import Generate
from dataflare_std.validate import Validate

ROWS = [{"id": 1, "t": 10.5}, {"id": 2, "t": None}, {"id": 3, "t": 30.0}, {"id": 1, "t": 50.0}]


BATCHES = [ROWS[:2], ROWS[2:3], ROWS[3:]]


TestGenerate = source_suite(Generate, rows=7, parts=2)
TestFilter = processor_suite(Filter, BATCHES, where="t > 20")
TestCompute = processor_suite(Compute, BATCHES, columns={"f": "t * 9 / 5 + 32"})
TestSelect = processor_suite(Select, BATCHES, columns={"nr": "id", "half": "t / 2"})
TestValidate = processor_suite(Validate, BATCHES, rules={"warm": "t > 20"})
TestDedupe = processor_suite(Dedupe, BATCHES, key=["id"])
