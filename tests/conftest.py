"""Settings for all tests."""

from hypothesis import settings

# Few examples a run: the unit tests are to be run after every change, and each run tries others.
settings.register_profile("short", max_examples=25, deadline=None)
settings.load_profile("short")
