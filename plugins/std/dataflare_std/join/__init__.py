"""``join``: two streams by key and time, or a stream with a table."""
