"""Inputs that the host holds for components: UDP, TCP, tty, files."""
