"""Dead letters as the processor writes them, made up."""

from datetime import datetime
from typing import NamedTuple

from pipeline.dead_letters import Headers, dead_letter_headers
from pipeline.events import BrokenEventError
from tests.broken_events import VALID_WEB, without
from tests.integration.pipelines import Sent

TIMESTAMP_MS = 1_795_300_000_123
NO_PAGE = without(VALID_WEB, "page")


class Source(NamedTuple):
    """A record as it stood in its source."""

    topic: str
    partition: int = 0
    offset: int = 0
    headers: Headers = ()


def letter(
    source: Source,
    value: bytes | None = NO_PAGE,
    reason: str = "Object missing required field `page`",
    died_at: datetime | None = None,
    group: str = "the-group",
) -> Sent:
    """The dead letter that such a record becomes."""
    headers = dead_letter_headers(source, BrokenEventError(reason), group, died_at)
    return Sent(value, headers=headers, timestamp_ms=TIMESTAMP_MS, partition=source.partition)  # type: ignore[arg-type]
