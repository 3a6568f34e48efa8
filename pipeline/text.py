"""Text that is safe on a terminal. Pure.

The bytes of an event were chosen by its sender: none of them may command a terminal, so whatever is not
printable is escaped.
"""

from datetime import datetime

import msgspec


class NotUtf8(str):
    r"""Text of bytes that are not UTF-8: shown with \xff in their place, encoded as the same bytes."""

    def __new__(cls, content: bytes) -> "NotUtf8":
        """Decode what can be decoded."""
        text = super().__new__(cls, content.decode(errors="backslashreplace"))
        text._content = content
        return text

    def encode(self, *_: str) -> bytes:
        """Return the bytes."""
        return self._content

    _content: bytes


def printable(text: str) -> str:
    """Escape what is not printable."""
    if text.isprintable():  # nearly always, and many times as fast
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def bytes_text(content: bytes | None) -> str:
    r"""Return bytes as text: what is not UTF-8 as \xff, what is not printable escaped."""
    if content is None:
        return "(null)"
    return printable(content.decode(errors="backslashreplace")) or "(empty)"


def time_text(when: datetime) -> str:
    """Return a time for a person: local, with its offset from UTC, such as 2026-11-22T13:35:43+09:00."""
    try:
        return when.astimezone().isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):  # at the ends of the calendar
        return when.isoformat(timespec="seconds")


def json_line(text: str) -> str:
    """Return JSON, which somebody else wrote, in one line in which what is not printable is escaped.

    Raises:
        msgspec.DecodeError: it is not JSON.
    """
    return escape_json(msgspec.json.format(text, indent=-1))


def json_text(value: object) -> str:
    """Return JSON in which what is not printable is escaped, too."""
    return escape_json(msgspec.json.encode(value).decode())


def escape_json(text: str) -> str:
    """Return JSON in which what is not printable is escaped: such letters stand only inside of its texts."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else json_escape(letter) for letter in text)


def json_escape(letter: str) -> str:
    r"""Return a letter as \u and four digits; one beyond 16 bits as two of these (RFC 8259, section 7)."""
    units = letter.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
