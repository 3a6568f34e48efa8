"""The account of what went in and what came out: each source record once, in order, as it was."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.dead_letters import read_dead_letter
from pipeline.events import BrokenEventError, decode, encode, normalize_purchase, normalize_web

NORMALIZE = {"web": normalize_web, "purchase": normalize_purchase}


class Out(NamedTuple):
    """A record that came out, or has to; of a dead letter with the offset of its source."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes | None], ...]
    letter_of: int | None


Flow = dict[tuple[str, int, str], list[Out]]  # by source, partition, and whether it is clean or dead


def expected(sources: Mapping[str, Iterable[Any]]) -> Flow:
    """What has to come out of the records of each source, in their order."""
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
    """What came out, in the order of its partition; `topics` gives the source of a topic's name."""
    flow: Flow = defaultdict(list)
    for record in clean:
        out = Out(record.key, record.value, record.timestamp, tuple(record.headers), None)
        flow[decode(record.value).source, record.partition, "clean"].append(out)
    for record in letters:
        letter = read_dead_letter(record.headers)
        assert letter, f"a letter of nobody: {record}"
        out = Out(record.key, record.value, record.timestamp, tuple(letter.headers), letter.offset)
        flow[topics[letter.topic], letter.partition, "dead"].append(out)
    return flow


def assert_same(wanted: Flow, got: Flow) -> None:
    """Every record once and in order, or a message that counts what is lost and what is twice."""
    wrong = []
    for place in sorted(wanted.keys() | got.keys()):
        if wanted[place] != got[place]:
            lost, more = Counter(wanted[place]), Counter(got[place])
            wrong.append(
                f"{place}: {len(wanted[place])} wanted, {(lost - more).total()} lost, "
                f"{(more - lost).total()} too many; same but out of order: {lost == more}"
            )
    assert not wrong, "\n".join(wrong)
