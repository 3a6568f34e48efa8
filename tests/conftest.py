"""Settings for all tests."""

import pytest
from hypothesis import settings

# Few examples a run: the unit tests are to be run after every change, and each run tries others.
settings.register_profile("short", max_examples=25, deadline=None)
settings.load_profile("short")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the fault tests in full: 100,000 events each")
