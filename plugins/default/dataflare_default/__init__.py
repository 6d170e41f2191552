"""The default plugin set: no code, only a manifest."""
