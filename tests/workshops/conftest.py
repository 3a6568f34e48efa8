"""A PostgreSQL and an OpenSearch for the tests, which may kill them."""

import random
from collections.abc import Iterator

import pytest

from pipeline.connection import is_open
from pipeline.local_kafka import HOST
from tests.workshops.services import Postgres, Search, Service
from workshops.musinsa.local_opensearch import HIGHEST_PORT


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
    """It runs, whatever the test before did to it."""
    postgres_server.start()
    return postgres_server


@pytest.fixture
def opensearch(opensearch_server: Search) -> Search:
    """It runs, whatever the test before did to it."""
    opensearch_server.start()
    return opensearch_server


@pytest.fixture
def services(postgres: Postgres, opensearch: Search) -> list[Service]:
    """Both."""
    return [postgres, opensearch]


@pytest.fixture(params=["postgres", "opensearch"])
def service(request: pytest.FixtureRequest) -> Service:
    """One after the other."""
    found: Service = request.getfixturevalue(request.param)
    return found
