"""Settings for all tests."""

import signal

import pytest
from hypothesis import settings

# Few examples a run: the unit tests are to be run after every change, and each run tries others.
settings.register_profile("short", max_examples=25, deadline=None)
settings.load_profile("short")

# Started with & or by nohup, the tests ignore these, and so would the scripts that they send them to: what is
# ignored stays so in a child, what is handled does not.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the fault tests in full: 100,000 events each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        for item in items:
            item.add_marker(pytest.mark.timeout(900))
        return
    short = [item for item in items if not item.get_closest_marker("only_in_full")]
    config.hook.pytest_deselected(items=[item for item in items if item not in short])
    items[:] = short
