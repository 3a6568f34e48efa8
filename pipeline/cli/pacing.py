"""The pace and the clock of a producer of made-up events."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import count as count_up

from pipeline.cli.process import Stop

SEEDED_START = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=9)))


def paced(count: int | None, rate: float, stop: Stop) -> Iterator[int]:
    """Count from 0 at a steady pace; the pause comes before a number, not behind it.

    Args:
        count: how many numbers; None for no limit.
        rate: numbers per second, 0 for no pauses.
        stop: ends the counting.
    """
    started = time.monotonic()
    for number in range(count) if count is not None else count_up():
        pause = max(0.0, started + number / rate - time.monotonic()) if rate else 0.0
        if stop.wait(pause) if pause else stop.requested:
            return
        yield number


def event_time(seed: int | None, number: int) -> str:
    """Return the timestamp of an event, RFC 3339 with offset.

    Args:
        seed: None for the current time; with a seed events are a second apart, so that a second run sends the
            same events.
        number: of the event.
    """
    when = datetime.now().astimezone() if seed is None else SEEDED_START + timedelta(seconds=number)
    return when.isoformat(timespec="milliseconds")
