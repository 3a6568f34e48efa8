"""A broker that the fault tests may kill, and how much they do: the short form, or --all in full."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.cli.cluster import Cluster
from pipeline.local import HOST
from pipeline.local.kafka import CONTROLLER_PORT_DISTANCE, LocalKafka
from tests.conftest import free_port
from tests.faults.flow import Flow
from tests.faults.proxy import Proxy


@dataclass(frozen=True)
class Scale:
    """How much a fault test does."""

    full: bool
    events: int

    def rounds(self, short: int, full: int) -> int:
        """Return how often to do something, or for how many seconds."""
        return full if self.full else short


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """The short form, unless --all is set."""
    full = bool(request.config.getoption("--all"))
    return Scale(full, 100_000 if full else 10_000)


@dataclass(frozen=True)
class LoneBroker:
    """A broker that tests may kill, and a proxy before it."""

    kafka: LocalKafka
    proxy: Proxy


@pytest.fixture(scope="session")
def lone_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneBroker]:
    """A broker that creates no topics by itself and enforces access control lists."""
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
    """The lone broker; it runs, whatever the test before did to it."""
    lone_broker.kafka.start()
    return lone_broker.kafka


@pytest.fixture
def proxy(lone_broker: LoneBroker) -> Proxy:
    """The proxy before the lone broker."""
    return lone_broker.proxy


@pytest.fixture
def flow(cluster: LocalKafka) -> Iterator[Flow]:
    """A pipeline on the lone broker."""
    with Flow(Cluster(cluster.bootstrap_servers)) as made:
        yield made
        made.end_scripts()
        cluster.start()
