"""Brokers of their own for the tests that kill them, and how much they do: short, or with --all in full."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.local_kafka import CONTROLLER_PORT_DISTANCE, HOST, LocalKafka
from tests.conftest import free_port
from tests.faults.flow import Flow
from tests.faults.proxy import Proxy


@dataclass(frozen=True)
class Scale:
    """How much a fault test does."""

    full: bool
    events: int

    def rounds(self, short: int, full: int) -> int:
        """How often, or how many seconds."""
        return full if self.full else short


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """The short form, unless --all is given."""
    full = bool(request.config.getoption("--all"))
    return Scale(full, 100_000 if full else 10_000)


@dataclass(frozen=True)
class LoneBroker:
    """One broker that tests may kill, and a second way to it that they may disturb."""

    kafka: LocalKafka
    proxy: Proxy


@pytest.fixture(scope="session")
def lone_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneBroker]:
    """A broker that makes no topics by itself and minds access control lists."""
    port = free_port(brokers=3)
    behind_proxy, of_proxy = port + 1, port + 2
    kafka = LocalKafka(
        port=port,
        home=tmp_path_factory.mktemp("lone-broker"),
        settings={
            "listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{behind_proxy},"
            f"CONTROLLER://{HOST}:{port + CONTROLLER_PORT_DISTANCE}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{of_proxy}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
            "auto.create.topics.enable": "false",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        },
    )
    proxy = Proxy(of_proxy, behind_proxy)
    try:
        yield LoneBroker(kafka, proxy)
    finally:
        proxy.close()
        kafka.stop()


@pytest.fixture
def cluster(lone_broker: LoneBroker) -> LocalKafka:
    """The lone broker, which runs, whatever the test before did to it."""
    lone_broker.kafka.start()
    return lone_broker.kafka


@pytest.fixture
def proxy(lone_broker: LoneBroker) -> Proxy:
    """The way to the lone broker that can be disturbed."""
    return lone_broker.proxy


@pytest.fixture
def flow(cluster: LocalKafka) -> Iterator[Flow]:
    """A pipeline on the lone broker."""
    with Flow(cluster.bootstrap_servers) as made:
        yield made
        made.end_scripts()
        cluster.start()
