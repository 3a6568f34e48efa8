"""Made-up dead letters, as the processor writes them."""

from datetime import datetime
from typing import NamedTuple

from pipeline.dead_letters import Headers, dead_letter_headers
from pipeline.schema import BrokenEventError
from tests.broken_events import VALID_WEB, without
from tests.integration.pipelines import Sent

TIMESTAMP_MS = 1_795_300_000_123
NO_PAGE = without(VALID_WEB, "page")


class Source(NamedTuple):
    """The source record of a dead letter."""

    topic: str
    partition: int = 0
    offset: int = 0
    headers: Headers = ()


def letter(
    source: Source,
    value: bytes | None = NO_PAGE,
    reason: str = "Object missing required field `page`",
    failed_at: datetime | None = None,
    group: str = "the-group",
) -> Sent:
    """Return the dead letter of a source record."""
    headers = dead_letter_headers(source, BrokenEventError(reason), group, failed_at)
    return Sent(value, headers=headers, timestamp_ms=TIMESTAMP_MS, partition=source.partition)  # type: ignore[arg-type]
