"""Settings for all tests, a real broker, and for each test a pipeline on topics with a prefix of its own."""

import random
import signal
import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings

from pipeline.local import broker
from pipeline.local.broker import Broker
from pipeline.local.kafka import CONTROLLER_PORT_DISTANCE, LocalKafka
from tests.integration.pipelines import Pipeline

TEST_PORTS = range(20_000, 22_000)

# Few examples per run: the unit tests run after every change, and each run tries other examples.
settings.register_profile("short", max_examples=25, deadline=None)
settings.load_profile("short")

# Started by nohup or with &, this process ignores these signals, and the scripts that the tests start would
# inherit that. They do not inherit a handler.
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
    """Return a free port for LocalKafka; those of further brokers and of the controllers are free, too."""
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
    """The broker that run.sh would choose; in place of the local one, another one with data of its own."""
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
    """The four scripts, on topics that nobody else uses; they are deleted afterwards."""
    with Pipeline(kafka) as made:
        yield made
