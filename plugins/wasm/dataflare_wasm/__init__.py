"""Plugins that are WASM modules: a sandbox on wasmtime, and the loaders ``wasm`` and ``extism``."""
