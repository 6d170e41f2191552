"""The places of the engine where a test may let it die (``dataflare.crash``), in the order of an epoch."""

POINTS = (
    "opened",
    "first-batch",
    "barrier",
    "prepare",
    "prepared",
    "commit-point",
    "decided",
    "sink-commit",
    "committed",
    "acknowledge",
    "settle",
    "recovery",
)
