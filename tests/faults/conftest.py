"""How much the fault tests do: short, or with --all in full."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.local_kafka import LocalKafka
from tests.faults.flow import Flow


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


@pytest.fixture
def flow(cluster: LocalKafka) -> Iterator[Flow]:
    """A pipeline on the lone broker."""
    with Flow(cluster.bootstrap_servers) as made:
        yield made
        made.end_scripts()
        cluster.start()
