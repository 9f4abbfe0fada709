"""Sealing keys with their rotation, and the window against replayed requests."""
