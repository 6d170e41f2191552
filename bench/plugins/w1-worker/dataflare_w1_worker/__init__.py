"""The filter and the compute step of W1 as a plugin for a worker, over Arrow."""

from __future__ import annotations

import pyarrow.compute as pc

from dataflare import Batch, processor


@processor(cardinality="filter", adds={})
def hot(batch: Batch, *, above: float = 20.0) -> Batch:
    """Keeps rows above a temperature."""
    return batch.filter(pc.greater(batch["temperature"], above))


@processor(cardinality="one", adds={"fahrenheit": float})
def fahrenheit(batch: Batch) -> Batch:
    """Adds the temperature in degrees Fahrenheit."""
    nine = pc.divide(pc.multiply(batch["temperature"], 9.0), 5.0)
    return batch.with_column("fahrenheit", pc.add(nine, 32.0))
