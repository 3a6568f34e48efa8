"""Dead letters as text and as JSON, safe for a terminal. Pure."""

from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.dlq.letters import Letter, time_of
from pipeline.dlq.selection import Outgoing
from pipeline.text import bytes_text, json_text, printable, time_text
from pipeline.topics import ANALYTICS_DLQ

START_CHARACTERS = 60
BYTES_PER_CHARACTER = 4  # at most, in UTF-8
BAR_LENGTH = 20
LABEL_WIDTH = 12


def as_line(letter: Letter) -> str:
    """Return a letter in one line, with the start of its value."""
    attempt = f"attempt {letter.dead.delivery_count}" if letter.dead else "-"
    replayed = ", replayed" if letter.replayed_at else ""
    return (
        f"{time_text(letter.failed_at)}  {printable(letter.place):<22}  {attempt}{replayed}  "
        f"{printable(letter.reason)}  {_start(letter.record.value)}"
    )


def as_json(letter: Letter) -> str:
    """Return a letter as a JSON object in one line; a foreign record has fewer fields."""
    record, dead = letter.record, letter.dead
    fields: dict[str, Any] = {"time": letter.failed_at, "source": letter.source}
    if dead:
        fields |= {
            "topic": dead.topic, "partition": dead.partition, "offset": dead.offset,
            "attempt": dead.delivery_count, "exception": dead.exception, "group": dead.group,
        }  # fmt: skip
    fields |= {
        "reason": letter.reason,
        **_json_bytes("key", record.key),
        **_json_bytes("value", record.value),
        "dead_letter": letter.stored_at,
        "replayed_at": letter.replayed_at,
    }
    return json_text(fields)


def as_replay(what: str, outgoing: Outgoing, place: str) -> str:
    """Return the replay of a letter in one line, its value in full.

    Args:
        what: happened, or would happen.
        outgoing: the letter and the value to send.
        place: the place in its source.
    """
    letter, dead, value = outgoing
    return (
        f"{what} {letter.place} -> {place}  attempt {dead.delivery_count + 1}  "
        f"key {bytes_text(letter.record.key)}  {bytes_text(value)}"
    )


def as_page(letter: Letter) -> str:
    """Return everything about a letter, its value in full."""
    record, dead = letter.record, letter.dead
    lines = [("failed", time_text(letter.failed_at)), ("reason", letter.reason)]
    if dead:
        lines += [
            ("exception", dead.exception),
            ("group", dead.group),
            ("attempt", str(dead.delivery_count)),
            ("replayed", time_text(letter.replayed_at) if letter.replayed_at else "no"),
        ]
    lines += [
        ("stored at", letter.stored_at),
        ("timestamp", time_text(time_of(record.timestamp))),
        ("key", bytes_text(record.key)),
        *(("header", f"{name}: {bytes_text(value)}") for name, value in letter.headers),
        ("value", f"{len(record.value or b'')} bytes"),
    ]
    labelled = [f"  {label:<{LABEL_WIDTH}}{printable(text)}" for label, text in lines]
    return "\n".join([printable(letter.place), *labelled, "", bytes_text(record.value), ""])


@dataclass
class Group:
    """The letters of one source with the same reason: how many, and the times of the first and the last."""

    source: str
    reason: str
    count: int
    first_seen: datetime
    last_seen: datetime


class Statistics:
    """Counts letters by source and reason."""

    def __init__(self) -> None:
        """Start at zero."""
        self._groups: dict[tuple[str, str], Group] = {}
        self._states = {"open": 0, "replayed": 0, "foreign": 0}

    def add(self, letter: Letter) -> None:
        """Count a letter."""
        source, when = letter.source or "foreign", letter.failed_at
        group = self._groups.setdefault((source, letter.reason), Group(source, letter.reason, 0, when, when))
        group.count += 1
        group.first_seen = min(group.first_seen, when)
        group.last_seen = max(group.last_seen, when)
        self._states["foreign" if not letter.dead else "replayed" if letter.replayed_at else "open"] += 1

    def as_json(self) -> str:
        """Return a JSON object in one line."""
        return json_text({"topic": ANALYTICS_DLQ, **self._states, "reasons": self._largest_first()})

    def as_text(self) -> str:
        """Return a line about all letters, and one with a bar for each source and reason."""
        groups = self._largest_first()
        states = ", ".join(f"{count:,} {state}" for state, count in self._states.items())
        lines = [f"{ANALYTICS_DLQ}: {states}"]
        for group in groups:
            bar = "█" * max(1, BAR_LENGTH * group.count // groups[0].count)
            when = f"{time_text(group.first_seen)} to {time_text(group.last_seen)}"
            what = f"{group.source:<8}  {printable(group.reason)}"
            lines.append(f"{group.count:>7,}  {bar:<{BAR_LENGTH}}  {when}  {what}")
        return "\n".join(lines)

    def _largest_first(self) -> list[Group]:
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.source, group.reason))


def _json_bytes(name: str, content: bytes | None) -> dict[str, str | None]:
    try:
        return {name: None if content is None else content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(content or b"").decode()}


def _start(value: bytes | None) -> str:
    text = bytes_text(value and value[: (START_CHARACTERS + 1) * BYTES_PER_CHARACTER])
    return text if len(text) <= START_CHARACTERS else text[:START_CHARACTERS] + "…"
