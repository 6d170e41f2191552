"""Distances and daily tracks of moving things."""
