"""The DataFlare host: everything that moves data is a plugin; this finds, checks and starts them."""
