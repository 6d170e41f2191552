"""Hypothesis for the whole suite: no deadlines, since a busy machine is not a failure."""

from hypothesis import settings

settings.register_profile("dataflare", deadline=None)
settings.load_profile("dataflare")
