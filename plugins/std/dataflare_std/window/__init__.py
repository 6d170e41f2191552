"""``window``: aggregates over event time, by key."""
