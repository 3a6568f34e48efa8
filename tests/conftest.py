"""Settings for all tests, a real broker, and for each test a pipeline on topics with a prefix of its own."""

import random
import signal
import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings

from pipeline import broker
from pipeline.broker import Broker
from pipeline.local_kafka import CONTROLLER_PORT_DISTANCE, LocalKafka
from tests.integration.pipelines import Pipeline

TEST_PORTS = range(20_000, 22_000)

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


def free_port(brokers: int = 1) -> int:
    """A port for LocalKafka, with those behind it for more brokers and for the controllers."""
    while True:
        first = random.choice(TEST_PORTS)
        try:
            for port in range(first, first + brokers):
                socket.create_server(("127.0.0.1", port)).close()
                socket.create_server(("127.0.0.1", port + CONTROLLER_PORT_DISTANCE)).close()
        except OSError:
            continue
        return first


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker that run.sh would choose; where that is the local one, another one with its own data."""
    choice = broker.choose()
    if choice != "local":
        yield broker.ready(choice)
        return
    own = LocalKafka(port=free_port(), home=tmp_path_factory.mktemp("kafka"))
    try:
        own.start()
        yield Broker(own.bootstrap_servers, "for the tests", f"{broker.LOCAL_TOOL} exec ", stop=None)
    finally:
        own.stop()


@pytest.fixture
def pipeline(kafka: Broker) -> Iterator[Pipeline]:
    """The four scripts, on topics that no one else uses and that are gone afterwards."""
    with Pipeline(kafka) as made:
        yield made
