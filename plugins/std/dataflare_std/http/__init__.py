"""Rows to HTTP services."""
