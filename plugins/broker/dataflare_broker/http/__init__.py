"""Requests of components: checked, sent to the address that was checked, answers bounded."""
