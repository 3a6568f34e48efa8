"""Dead letters as text and as JSON, safe for a terminal. Pure."""

from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.connection import ANALYTICS_DLQ
from pipeline.letters import Letter, time_of
from pipeline.redelivery import Outgoing
from pipeline.text import bytes_text, json_text, printable, time_text

START_CHARACTERS = 60
BYTES_PER_CHARACTER = 4  # at most, in UTF-8
BAR_LENGTH = 20
LABEL_WIDTH = 12


def as_line(letter: Letter) -> str:
    """Give a letter in one line, with the start of its value."""
    attempt = f"attempt {letter.dead.delivery_count}" if letter.dead else "-"
    back = ", sent back" if letter.sent_back_at else ""
    return (
        f"{time_text(letter.died_at)}  {printable(letter.place):<22}  {attempt}{back}  "
        f"{printable(letter.reason)}  {_start(letter.record.value)}"
    )


def as_json(letter: Letter) -> str:
    """Give a letter as a JSON object in one line; a foreign record has fewer fields."""
    record, dead = letter.record, letter.dead
    fields: dict[str, Any] = {"time": letter.died_at, "source": letter.source}
    if dead:
        fields |= {
            "topic": dead.topic, "partition": dead.partition, "offset": dead.offset,
            "attempt": dead.delivery_count, "exception": dead.exception, "group": dead.group,
        }  # fmt: skip
    fields |= {
        "reason": letter.reason,
        **_json_bytes("key", record.key),
        **_json_bytes("value", record.value),
        "dead_letter": letter.lies_at,
        "sent_back_at": letter.sent_back_at,
    }
    return json_text(fields)


def as_way_back(what: str, outgoing: Outgoing, place: str) -> str:
    """Give in one line what goes where, its value in full.

    Args:
        what: happens.
        outgoing: the letter and the value that it goes with.
        place: where to.
    """
    letter, dead, value = outgoing
    return (
        f"{what} {letter.place} -> {place}  attempt {dead.delivery_count + 1}  "
        f"key {bytes_text(letter.record.key)}  {bytes_text(value)}"
    )


def as_page(letter: Letter) -> str:
    """Give everything about a letter, its value in full."""
    record, dead = letter.record, letter.dead
    lines = [("died", time_text(letter.died_at)), ("reason", letter.reason)]
    if dead:
        lines += [
            ("exception", dead.exception),
            ("group", dead.group),
            ("attempt", str(dead.delivery_count)),
            ("sent back", time_text(letter.sent_back_at) if letter.sent_back_at else "no"),
        ]
    lines += [
        ("lies at", letter.lies_at),
        ("timestamp", time_text(time_of(record.timestamp))),
        ("key", bytes_text(record.key)),
        *(("header", f"{name}: {bytes_text(value)}") for name, value in letter.headers),
        ("value", f"{len(record.value or b'')} bytes"),
    ]
    labelled = [f"  {label:<{LABEL_WIDTH}}{printable(text)}" for label, text in lines]
    return "\n".join([printable(letter.place), *labelled, "", bytes_text(record.value), ""])


@dataclass
class Group:
    """How many letters of a source died of the same, and when the first and the last did."""

    source: str
    reason: str
    count: int
    first_seen: datetime
    last_seen: datetime


class Statistics:
    """Counts letters by source and reason."""

    def __init__(self) -> None:
        """Begin with none."""
        self._groups: dict[tuple[str, str], Group] = {}
        self._states = {"open": 0, "sent_back": 0, "foreign": 0}

    def add(self, letter: Letter) -> None:
        """Count one."""
        source, when = letter.source or "foreign", letter.died_at
        group = self._groups.setdefault((source, letter.reason), Group(source, letter.reason, 0, when, when))
        group.count += 1
        group.first_seen = min(group.first_seen, when)
        group.last_seen = max(group.last_seen, when)
        self._states["foreign" if not letter.dead else "sent_back" if letter.sent_back_at else "open"] += 1

    def as_json(self) -> str:
        """Give a JSON object in one line."""
        return json_text({"topic": ANALYTICS_DLQ, **self._states, "reasons": self._largest_first()})

    def as_text(self) -> str:
        """Give a line about all, and one with a bar for each source and reason."""
        groups = self._largest_first()
        states = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in self._states.items())
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
