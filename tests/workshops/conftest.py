"""A PostgreSQL and an OpenSearch for the tests, which may kill them."""

import random
from collections.abc import Iterator

import pytest

from pipeline.client.health import is_open
from pipeline.local import HOST
from pipeline.local.opensearch import HIGHEST_PORT
from tests.workshops.services import Postgres, Search, Service


def free_port(lowest: int, highest: int) -> int:
    ports = [port for port in range(lowest, highest + 1) if not is_open(HOST, port)]
    return random.choice(ports)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    service = Postgres(free_port(22_000, 22_999))
    yield service
    service.server.stop()
    service.remove()


@pytest.fixture(scope="session")
def opensearch_server() -> Iterator[Search]:
    service = Search(free_port(9210, HIGHEST_PORT))
    yield service
    service.server.stop()
    service.remove()


@pytest.fixture
def postgres(postgres_server: Postgres) -> Postgres:
    """The running service, whatever the test before did to it."""
    postgres_server.start()
    return postgres_server


@pytest.fixture
def opensearch(opensearch_server: Search) -> Search:
    """The running service, whatever the test before did to it."""
    opensearch_server.start()
    return opensearch_server


@pytest.fixture
def services(postgres: Postgres, opensearch: Search) -> list[Service]:
    """Both services."""
    return [postgres, opensearch]


@pytest.fixture(params=["postgres", "opensearch"])
def service(request: pytest.FixtureRequest) -> Service:
    """Each of the two services in turn."""
    found: Service = request.getfixturevalue(request.param)
    return found
