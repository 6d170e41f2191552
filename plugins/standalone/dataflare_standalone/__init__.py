"""The mode that runs a flow in one process."""
