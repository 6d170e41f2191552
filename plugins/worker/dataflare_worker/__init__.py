"""Python plugins in environments and processes of their own: the loader ``worker``."""
