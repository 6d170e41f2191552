"""The bundle `packages`: which versions of plugins go together, and why not."""
