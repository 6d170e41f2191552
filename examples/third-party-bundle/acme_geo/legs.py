"""How far each thing moved since its last row: a step with state by key."""

import pyarrow as pa

from acme_geo.sphere import kilometres
from dataflare import Batch, Columns, ConfigError, Processor, Schema, State, field, state


class Legs(Processor, by="key", cardinality="one"):
    """Add `leg`: the kilometres from the last row of the same key, across batches and restarts."""

    key: Columns = field(help="The columns that say which thing it is.", min_length=1)
    last: State[list[float]] = state()

    def plan(self, schema: Schema) -> Schema:
        """The schema with `leg`. Raises ConfigError where there is no `lat` or `lon`."""
        missing = [name for name in ("lat", "lon", *self.key) if name not in schema and not schema.open]
        if missing:
            raise ConfigError.of(
                "acme_geo.no_column", f"there is no column `{missing[0]}`", fix="add it in a step before"
            )
        return schema.with_column("leg", float)

    def process(self, batch: Batch) -> Batch:
        """The rows in their order, each with its leg; the first row of a key has none."""
        rows, known = batch.select([*self.key, "lat", "lon"]).to_rows(), self.last.get(batch)
        points: dict[tuple[object, ...], list[float]] = {}
        legs: list[float | None] = []
        for row, before in zip(rows, known, strict=True):
            key = tuple(row[name] for name in self.key)
            start, end = points.get(key, before), [row["lat"], row["lon"]]
            legs.append(None if start is None else round(kilometres(*start, *end), 3))
            points[key] = end
        self.last.put(batch, [points[tuple(row[name] for name in self.key)] for row in rows])
        return batch.with_column("leg", legs, pa.float64())
