"""The format of Java's properties files, which Kafka's own tools read.

Format: https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)
Java reads them as Latin-1, and other letters as \\uXXXX; here UTF-8 is read, too.
"""

import re
from collections.abc import Iterator

CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
NAME_AND_VALUE = re.compile(r"((?:\\.|[^\\=:\s])*)(?:\s*[=:]\s*|\s+|$)(.*)", re.DOTALL)
UNESCAPED_BACKSLASHES = re.compile(r"\\*$")


def parse_properties(text: str) -> dict[str, str]:
    """Return the properties of a file by their names; the last one of a name counts.

    Args:
        text: the file's contents.
    """
    properties = {}
    for line in _logical_lines(text):
        found = NAME_AND_VALUE.fullmatch(line)
        assert found, "it matches any text"
        properties[_unescape(found[1])] = _unescape(found[2]).rstrip()
    return properties


def escape(value: str) -> str:
    """Return a value as it stands in a file that Java reads."""
    return "".join(
        f"\\u{ord(unit):04x}" if ord(unit) > 126 else f"\\{unit}" if unit == "\\" else unit
        for unit in _utf16(value)
    )


def _utf16(text: str) -> Iterator[str]:
    units = text.encode("utf-16-be", "surrogatepass")
    return (chr(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2))


def _unescape(text: str) -> str:
    """Replace escapes; two of them may be the halves of one letter."""
    replaced = ESCAPE.sub(_escaped, text)
    return replaced.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _escaped(found: re.Match[str]) -> str:
    code = found[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else CONTROLS.get(code, code)


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines that hold something; one that ends with a backslash continues on the next."""
    begun = ""
    for line in re.split(r"\r\n|\r|\n", text):
        part = line.lstrip()
        if not begun and part[:1] in ("", "#", "!"):
            continue
        backslashes = UNESCAPED_BACKSLASHES.search(part)
        if backslashes and len(backslashes[0]) % 2:
            begun += part[:-1]
            continue
        yield begun + part
        begun = ""
    if begun:
        yield begun
