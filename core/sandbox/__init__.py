"""Runs code that nobody has read: what it may touch, how much it may use, and how it is ended."""
