"""State stores (memory, file, SQLite) and the commands that look after state and dead letters."""
