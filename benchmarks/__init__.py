"""Measurements, and side by side with peers."""
