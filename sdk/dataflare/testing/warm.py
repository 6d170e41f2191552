"""Imported once by the process that test runs are forked from."""

from dataflare.testing.forked import warm_up

warm_up()
