"""Distances on the earth, taken as a sphere."""

from math import asin, cos, radians, sin, sqrt

RADIUS = 6371.0
"""Kilometres."""


def kilometres(from_lat: float, from_lon: float, to_lat: float, to_lon: float) -> float:
    """The distance along the surface between two points given in degrees."""
    a, b = radians(from_lat), radians(to_lat)
    across = sin((b - a) / 2) ** 2 + cos(a) * cos(b) * sin(radians(to_lon - from_lon) / 2) ** 2
    return 2 * RADIUS * asin(sqrt(across))
