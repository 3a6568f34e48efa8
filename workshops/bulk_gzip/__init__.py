"""A thousand messages, compressed (workshop 004)."""
