"""Where a lane's batches go: the ports of the lanes behind one edge, and how rows are spread over them."""

from __future__ import annotations

from dataclasses import dataclass

from dataflare import keys as key_bytes
from dataflare.batch import Batch
from dataflare_pipeline.channel import Barrier, Port, Watermark
from dataflare_pipeline.keyed import group_of, lane_of


@dataclass
class Outlet:
    """One edge as seen from one producing lane; ``ports`` by consuming lane, ``key``: columns of a key exchange."""

    edge: str
    ports: list[Port]
    key: tuple[str, ...] = ()
    producer: int = 0

    def spread(self, batch: Batch) -> list[tuple[Port, Batch]]:
        """The batch, or its parts by key group, with the ports they go to. A key stays in its order."""
        if len(self.ports) == 1:
            return [(self.ports[0], batch)]
        if not self.key:
            return [(self.ports[self.producer % len(self.ports)], batch)]
        return [(self.ports[lane], part) for lane, part in self._by_key(batch)]

    def mark(self, marker: Barrier | Watermark) -> None:
        """A marker goes to every lane behind the edge."""
        for port in self.ports:
            port.put(marker)

    def _by_key(self, batch: Batch) -> list[tuple[int, Batch]]:
        lanes: dict[int, list[int]] = {}
        known: dict[bytes, int] = {}
        for row, key in enumerate(key_bytes.encode(batch, list(self.key))):
            lane = known.get(key)
            if lane is None:
                lane = known[key] = lane_of(group_of(key), len(self.ports))
            lanes.setdefault(lane, []).append(row)
        if len(lanes) == 1:
            return [(next(iter(lanes)), batch)]
        return [(lane, batch.take(rows).as_input()) for lane, rows in sorted(lanes.items())]
