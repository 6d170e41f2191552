"""Plugins in JavaScript and TypeScript: one bundled script, run by an engine in a sandbox."""
