"""Captured rows as files that other programs read, written a batch at a time."""
