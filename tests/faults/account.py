"""Compares what came out with what went in: each source record once, in order, unchanged."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.dead_letters import read_dead_letter
from pipeline.schema import BrokenEventError, decode, encode, normalize_purchase, normalize_web

NORMALIZE = {"web": normalize_web, "purchase": normalize_purchase}


class Out(NamedTuple):
    """A record that came out, or has to; `letter_of` is the source offset of a dead letter, else None."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes | None], ...]
    letter_of: int | None


Flow = dict[tuple[str, int, str], list[Out]]  # by source, partition, and whether it is clean or dead


def expected(sources: Mapping[str, Iterable[Any]]) -> Flow:
    """Return what has to come out of the records of each source, in their order."""
    flow: Flow = defaultdict(list)
    for source, records in sources.items():
        for record in records:
            try:
                value = encode(NORMALIZE[source](record.value))
                kind, letter_of = "clean", None
            except BrokenEventError:
                value, kind, letter_of = record.value, "dead", record.offset
            out = Out(record.key, value, record.timestamp, tuple(record.headers), letter_of)
            flow[source, record.partition, kind].append(out)
    return flow


def came(clean: Iterable[Any], letters: Iterable[Any], topics: dict[str, str]) -> Flow:
    """Return what came out, in the order of its partition; `topics` maps a topic's name to its source."""
    flow: Flow = defaultdict(list)
    for record in clean:
        out = Out(record.key, record.value, record.timestamp, tuple(record.headers), None)
        flow[decode(record.value).source, record.partition, "clean"].append(out)
    for record in letters:
        letter = read_dead_letter(record.headers)
        assert letter, f"not a dead letter: {record}"
        out = Out(record.key, record.value, record.timestamp, tuple(letter.headers), letter.offset)
        flow[topics[letter.topic], letter.partition, "dead"].append(out)
    return flow


def assert_same(wanted: Flow, got: Flow) -> None:
    """Check that every record is there once and in order; else report how many are lost or too many."""
    wrong = []
    for place in sorted(wanted.keys() | got.keys()):
        if wanted[place] != got[place]:
            lost, more = Counter(wanted[place]), Counter(got[place])
            wrong.append(
                f"{place}: {len(wanted[place])} wanted, {(lost - more).total()} lost, "
                f"{(more - lost).total()} too many; same but out of order: {lost == more}"
            )
    assert not wrong, "\n".join(wrong)
