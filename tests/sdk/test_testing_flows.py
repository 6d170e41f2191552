"""Whole flows in memory."""

import sys

import pytest

from dataflare import ConfigError
from dataflare.testing import run_flow

SHOP = '''
from dataflare import Batch, Out, Processor, processor, sink, source
import pyarrow.compute as pc

@source
def numbers(position: int = 0, *, count: int = 6):
    """Numbers."""
    for n in range(position, count):
        yield [{"n": n}], n + 1

@processor(outputs=("odd",))
def parted(batch: Batch):
    """Even and odd."""
    batch = batch.reject(pc.equal(batch["n"], 4), "four")
    odd = pc.equal(pc.bit_wise_and(batch["n"], 1), 1)
    yield batch.filter(pc.invert(odd))
    yield Out("odd", batch.filter(odd))

class Total(Processor):
    """The sum, at the end."""
    def open(self): self.total = 0
    def plan(self): return {"total": int}
    def process(self, batch: Batch): self.total += sum(batch["n"].to_pylist())
    def finish(self): return [{"total": self.total}]
    def snapshot(self): return str(self.total).encode()
    def restore(self, data, version): self.total = int(data)

@sink
def nowhere(batch):
    """Never called."""
    raise AssertionError
'''

FLOW = """
version: 1
name: shop
sources:
  numbers: {uses: ./shop.py/numbers}
steps:
  parted: {uses: ./shop.py/parted, from: numbers}
  total: {uses: ./shop.py/total, from: parted.odd}
sinks:
  even: {uses: ./shop.py/nowhere, from: parted}
  sums: {uses: ./shop.py/nowhere, from: total}
"""


@pytest.fixture
def flow(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "flow.yaml").write_text(FLOW)
    return tmp_path / "flow.yaml"


def test_a_flow_gives_the_rows_of_each_sink(flow):
    result = run_flow(flow)
    assert result.sinks == {"even": [{"n": 0}, {"n": 2}], "sums": [{"total": 9}]}
    assert [(reject.row, reject.code) for reject in result.rejects["parted"]] == [({"n": 4}, "four")]
    assert result.rows == [{"n": 0}, {"n": 2}, {"total": 9}]


def test_inputs_replace_sources(flow):
    assert run_flow(flow, {"numbers": [{"n": 7}, {"n": 8}]}).sinks == {"even": [{"n": 8}], "sums": [{"total": 7}]}
    with pytest.raises(ConfigError, match=r"testing\.inputs"):
        run_flow(flow, {"nmubers": []})


def test_mistakes_are_those_of_planning(flow):
    flow.write_text(FLOW.replace("parted.odd", "parted.odds"))
    with pytest.raises(ConfigError, match="odds"):
        run_flow(flow)


def test_without_the_host_it_says_so(flow, monkeypatch):
    monkeypatch.setitem(sys.modules, "dataflare_host", None)
    with pytest.raises(ConfigError, match=r"testing\.no_host"):
        run_flow(flow)
