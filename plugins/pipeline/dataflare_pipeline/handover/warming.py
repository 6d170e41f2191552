"""What a process does at its first batch only, done before the flow waits for it: imports, and set-up of libraries."""

from __future__ import annotations

import importlib
import logging
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger("dataflare.pipeline")
OWN = ("dataflare_pipeline.runner", "dataflare_pipeline.handover.taking", "dataflare_pipeline.handover.taken")


def libraries() -> list[str]:
    """The modules of installed libraries that this process has imported, in the order in which it did."""
    folders = tuple(str(Path(sysconfig.get_path(word))) for word in ("purelib", "platlib"))
    return [
        name
        for name, module in list(sys.modules.items())
        if (getattr(module, "__file__", None) or "").startswith(folders) and not name.startswith("dataflare")
    ]


def warm_up(modules: Iterable[str]) -> None:
    """Import these, as far as they are here, and hash and encode a few rows."""
    for name in (*modules, *OWN):
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception as error:
                log.info("`%s` was not imported beforehand: %s", name, error)
    import pyarrow as pa

    from dataflare import keys
    from dataflare.batch import Batch
    from dataflare.digest import digest

    rows = pa.record_batch({"number": [1, 2], "text": ["a", "b"]})
    digest(rows)
    keys.encode(Batch(rows), rows.schema.names)
