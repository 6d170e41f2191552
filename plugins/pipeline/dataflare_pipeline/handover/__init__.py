"""A flow goes on in another process: Python code cannot be taken out of the one that has imported it."""
