"""Reports how good the data in a file is."""

from dataflare_quality.report import report

__all__ = ["report"]
