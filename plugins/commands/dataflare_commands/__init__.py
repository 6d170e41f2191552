"""Commands that look at flows, plugins and this machine, and at what one component gives."""
