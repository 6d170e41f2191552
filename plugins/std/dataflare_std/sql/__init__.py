"""Rows in SQL tables."""
