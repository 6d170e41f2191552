"""What lies near a place: a step and a tool as functions."""

import pyarrow as pa

from acme_geo.sphere import kilometres
from dataflare import Batch, field, processor, tool


@processor(cardinality="filter", adds={"distance": float})
def near(
    batch: Batch,
    *,
    lat: float = field(ge=-90, le=90, help="Of the place, in degrees."),
    lon: float = field(ge=-180, le=180, help="Of the place, in degrees."),
    within: float | None = field(default=None, gt=0, help="Keep what is at most so many kilometres away."),
) -> Batch:
    """Add `distance` in kilometres to a place; a row without `lat` or `lon` is rejected."""
    missing = pa.array([a is None or b is None for a, b in zip(*_points(batch), strict=True)], pa.bool_())
    batch = batch.reject(missing, "acme_geo.no_point", "`lat` or `lon` is null")
    away = [kilometres(lat, lon, a, b) for a, b in zip(*_points(batch), strict=True)]
    batch = batch.with_column("distance", [round(each, 3) for each in away], pa.float64())
    return batch if within is None else batch.filter([each <= within for each in away])


def _points(batch: Batch) -> tuple[list[float | None], list[float | None]]:
    return batch["lat"].to_pylist(), batch["lon"].to_pylist()


@tool
def distance(from_: list[float], to: list[float]) -> float:
    """The kilometres between two points, each given as [latitude, longitude]."""
    return round(kilometres(*from_, *to), 3)
