"""dead_letters.py: the record stays as it was; the reason is added behind its headers, and can be parsed."""

from datetime import datetime, timezone
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dead_letters import (
    DELIVERY_COUNT,
    MAX_MESSAGE_BYTES,
    MESSAGE,
    NAMES,
    OFFSET,
    PARTITION,
    TIMESTAMP,
    Headers,
    dead_letter_headers,
    read_dead_letter,
    replay_headers,
)
from pipeline.schema import BrokenEventError

NOW = datetime(2026, 11, 22, 9, 0, 0, 123_000, tzinfo=timezone.utc)
NUMBERS = (PARTITION, OFFSET, DELIVERY_COUNT)
LETTERS = "aé한🎉\x00\n\ud800"
TEXT = st.text("aé한🎉\x00", max_size=9)
HEADERS = st.lists(st.tuples(TEXT | st.sampled_from(NAMES), st.binary() | st.none()), max_size=12)


class Record(NamedTuple):
    headers: Headers
    topic: str = "web-events"
    partition: int = 2
    offset: int = 17


def letter_of(headers: Headers, reason: str = "because") -> list[tuple[str, bytes | None]]:
    return dead_letter_headers(Record(headers), BrokenEventError(reason), "the-group", NOW)


def test_the_headers_name_place_and_reason() -> None:
    error = BrokenEventError("Value is not UTF-8")
    error.__cause__ = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert dead_letter_headers(Record([]), error, "the-group", NOW) == [
        ("__dlq.errors.topic", b"web-events"),
        ("__dlq.errors.partition", b"2"),
        ("__dlq.errors.offset", b"17"),
        ("__dlq.errors.group", b"the-group"),
        ("__dlq.errors.message", b"Value is not UTF-8"),
        ("__dlq.errors.exception", b"UnicodeDecodeError"),
        ("__dlq.errors.timestamp", b"2026-11-22T09:00:00.123+00:00"),
        ("__dlq.errors.delivery.count", b"1"),
    ]


@given(HEADERS, TEXT)
def test_the_records_own_headers_come_first_and_unchanged(headers: Headers, reason: str) -> None:
    written = letter_of(headers, reason)
    assert written[: len(headers)] == list(headers)
    letter = read_dead_letter(written)
    assert letter is not None
    assert letter.headers == list(headers)
    assert (letter.topic, letter.partition, letter.offset) == ("web-events", 2, 17)


@given(st.text(LETTERS, min_size=1, max_size=8).map(lambda text: text * 70))
def test_a_long_reason_is_cut_between_two_characters(reason: str) -> None:
    message = dict(letter_of([], reason))[MESSAGE]
    assert message is not None
    assert len(message) <= MAX_MESSAGE_BYTES
    reason = reason.replace("\ud800", "\\ud800")
    assert reason.startswith(message.decode())
    assert len(message) > MAX_MESSAGE_BYTES - 4 or message.decode() == reason


@pytest.mark.parametrize(
    ("earlier", "count"),
    [([], 1), ([b"1"], 2), ([b"7", b"2"], 3), ([b"many"], 1), ([b""], 1), ([None], 1), ([b"9" * 5000], 1)],
)
def test_a_replayed_record_counts_one_more(earlier: list[bytes | None], count: int) -> None:
    letter = read_dead_letter(letter_of([(DELIVERY_COUNT, value) for value in earlier]))
    assert letter is not None
    assert letter.delivery_count == count


@given(HEADERS, st.integers(1, 5))
def test_replays_add_one_header_and_leave_the_others_as_they_were(headers: Headers, replays: int) -> None:
    first = last = read_dead_letter(letter_of(headers))
    assert first is not None
    for _ in range(replays):
        assert last is not None
        replayed = replay_headers(last)
        last = read_dead_letter(letter_of(replayed))
    assert last is not None
    assert last.delivery_count == first.delivery_count + replays
    counted = [(DELIVERY_COUNT, str(last.delivery_count - 1).encode())]
    before = [(DELIVERY_COUNT, str(first.delivery_count - 1).encode())]
    replayed_before = first.delivery_count > 1 and list(headers[-1:]) == before
    own = list(headers[:-1]) if replayed_before else list(headers)
    assert replayed == last.headers == own + counted


def test_a_count_that_its_sender_wrote_stays_in_replays() -> None:
    sent = [("trace", None), (DELIVERY_COUNT, b"0")]
    letter = read_dead_letter(letter_of(sent))
    assert letter
    assert replay_headers(letter) == [*sent, (DELIVERY_COUNT, b"1")]


@given(HEADERS)
def test_a_foreign_record_is_no_dead_letter(headers: Headers) -> None:
    if tuple(name for name, _ in headers[-8:]) != NAMES:
        assert read_dead_letter(headers) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_record_that_misses_one_of_our_headers_is_foreign(name: str) -> None:
    assert read_dead_letter([header for header in letter_of([]) if header[0] != name]) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in NUMBERS
            for value in (b"?", b"", b"-1", b"1_0", b" 1", "٣".encode(), b"1.0")
        ),
        *((TIMESTAMP, value) for value in (b"?", b"", b"2026-11-22T09:00:00", b"0001-01-01T00:00:00+09:00")),
        *((name, b"\xff") for name in NAMES),
    ],
)
def test_a_header_that_we_would_not_write_makes_a_record_foreign(name: str, value: bytes) -> None:
    assert (
        read_dead_letter([(known, value if known == name else old) for known, old in letter_of([])]) is None
    )
