"""dlq/options.py: how values on the command line are parsed."""

from argparse import ArgumentTypeError
from datetime import datetime, timedelta, timezone

import pytest

from pipeline.dlq.options import moment, place

LOCAL = datetime.now().astimezone().tzinfo


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-11-22T10:00", datetime(2026, 11, 22, 10, tzinfo=LOCAL)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=LOCAL)),
        ("2026-11-22T10:00:01.500Z", datetime(2026, 11, 22, 10, 0, 1, 500_000, timezone.utc)),
        ("2026-11-22T10:00+09:00", datetime(2026, 11, 22, 1, tzinfo=timezone.utc)),
    ],
)
def test_a_point_in_time(text: str, when: datetime) -> None:
    assert moment(text) == when


@pytest.mark.parametrize(
    ("text", "age"), [("90s", 90), ("10m", 600), ("2h", 7200), ("3d", 3 * 86400), ("0s", 0)]
)
def test_an_age(text: str, age: int) -> None:
    assert abs(moment(text) - (datetime.now(timezone.utc) - timedelta(seconds=age))) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "1w", "now", "9" * 30 + "d", "2026-13-01", "٣m"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        moment(text)


@pytest.mark.parametrize("text", ["web-events:2:17", "web-events[2]@17"])
def test_a_place(text: str) -> None:
    assert place(text) == "web-events[2]@17"


@pytest.mark.parametrize("text", ["", "web-events", "web-events:2", ":2:17", "web:2:x", "web-events[2]"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        place(text)
