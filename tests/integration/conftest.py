"""A real broker for the tests, and for each test a pipeline of its own, on topics with its own prefix."""

import random
import socket
from collections.abc import Iterator

import pytest

from pipeline import broker
from pipeline.broker import Broker
from pipeline.local_kafka import CONTROLLER_PORT_DISTANCE, LocalKafka
from tests.integration.pipelines import Pipeline

TEST_PORTS = range(20_000, 22_000)


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
