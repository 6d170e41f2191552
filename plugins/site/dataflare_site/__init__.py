"""The bundle `site`: static pages of an index of plugins."""
