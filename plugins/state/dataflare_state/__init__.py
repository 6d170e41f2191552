"""State stores: memory, file and SQLite."""
