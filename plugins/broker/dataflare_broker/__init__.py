"""HTTP and inputs for components that may not open connections themselves, as far as they are granted."""
