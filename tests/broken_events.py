"""The table of broken events, each with the reason that its dead letter reports."""

import json
from typing import Any, NamedTuple

WEB, PURCHASE = "web", "purchase"

VALID_WEB = {
    "event_id": "6f0f3a3e-52b9-4b5e-9b1d-8d3f6d0b6a01",
    "event_type": "page_view",
    "user_id": 7,
    "page": "/products/17",
    "timestamp": "2026-11-22T09:00:00+09:00",
}
VALID_PURCHASE = {
    "order_id": "0b9f7d7e-9d0c-4f0e-8f57-3c1f2f6f9a02",
    "user_id": 7,
    "product_id": "P-17",
    "quantity": 2,
    "amount": 25_800,
    "currency": "KRW",
    "timestamp": "2026-11-22T09:00:00+09:00",
}
VALID = {WEB: VALID_WEB, PURCHASE: VALID_PURCHASE}


class Broken(NamedTuple):
    name: str
    source: str
    value: bytes | None
    reason: str


def web(**changes: Any) -> bytes:  # noqa: ANN401, any JSON
    return json.dumps({**VALID_WEB, **changes}).encode()


def purchase(**changes: Any) -> bytes:  # noqa: ANN401, any JSON
    return json.dumps({**VALID_PURCHASE, **changes}).encode()


def without(event: dict[str, Any], field: str) -> bytes:
    return json.dumps({name: value for name, value in event.items() if name != field}).encode()


def with_raw_page(page: bytes) -> bytes:
    """Return a web event with exactly these bytes between the quotes of its page."""
    return web(page="PAGE").replace(b"PAGE", page)


NESTED = b"[" * 10_000 + b"]" * 10_000

TABLE = (
    Broken("cut JSON", WEB, web()[:-20], "Input data was truncated"),
    Broken("empty value", WEB, b"", "Value is empty"),
    Broken("white space", WEB, b" \n", "Input data was truncated"),
    Broken("null value", WEB, None, "Value is null"),
    Broken("array", PURCHASE, b"[]", "Expected `object`, got `array`"),
    Broken("text", PURCHASE, b'"text"', "Expected `object`, got `str`"),
    Broken("number", PURCHASE, b"123", "Expected `object`, got `int`"),
    Broken("JSON null", PURCHASE, b"null", "Expected `object`, got `null`"),
    Broken("not JSON", WEB, b"hello", "JSON is malformed: invalid character (byte 0)"),
    Broken("two objects", WEB, web() + web(), "JSON is malformed: trailing characters (byte 160)"),
    Broken("not UTF-8", WEB, with_raw_page(b"\xff\xfe"), "Value is not UTF-8: invalid start byte (byte 103)"),
    Broken(
        "not UTF-8, in a field that is dropped",
        WEB,
        web(extra="EXTRA").replace(b"EXTRA", b"\xc3\x28"),
        "Value is not UTF-8: invalid continuation byte (byte 170)",
    ),
    Broken(
        "BOM",
        WEB,
        b"\xef\xbb\xbf" + web(),
        "Value starts with a byte order mark (BOM), JSON must not (RFC 8259)",
    ),
    Broken("UTF-16", WEB, web().decode().encode("utf-16"), "Value is not UTF-8: invalid start byte (byte 0)"),
    Broken("NUL bytes", WEB, b"\x00" * 8, "JSON is malformed: invalid character (byte 0)"),
    Broken(
        "NUL byte in a text", WEB, with_raw_page(b"\x00"), "JSON is malformed: invalid character (byte 103)"
    ),
    Broken("NaN", PURCHASE, purchase(amount=float("nan")), "JSON is malformed: invalid character (byte 114)"),
    Broken(
        "Infinity", PURCHASE, purchase(amount=float("inf")), "JSON is malformed: invalid character (byte 114)"
    ),
    Broken(
        "NaN in a field that is dropped",
        WEB,
        web(extra=float("nan")),
        "JSON is malformed: invalid character (byte 169)",
    ),
    Broken("10,000 levels", WEB, NESTED, "Expected `object`, got `array`"),
    Broken(
        "10,000 levels in a field that is dropped",
        WEB,
        web(extra="NESTED").replace(b'"NESTED"', NESTED),
        "JSON is nested too deeply",
    ),
    Broken("900 KB", WEB, b"x" * 900_000, "JSON is malformed: invalid character (byte 0)"),
    Broken(
        "user id beyond 64 bits",
        WEB,
        web(user_id=2**63),
        "Expected `int` <= 9223372036854775807 - at `$.user_id`",
    ),
    Broken(
        "user id below 64 bits",
        PURCHASE,
        purchase(user_id=-(2**63) - 1),
        "Expected `int` >= -9223372036854775808 - at `$.user_id`",
    ),
    Broken(
        "user id of 5,000 digits",
        WEB,
        web(user_id="ID").replace(b'"ID"', b"9" * 5000),
        "Integer value out of range - at `$.user_id`",
    ),
    Broken(
        "amount beyond 64 bits",
        PURCHASE,
        purchase(amount=2**70),
        "Expected `int` <= 9223372036854775807 - at `$.amount`",
    ),
    Broken("missing field, web", WEB, without(VALID_WEB, "page"), "Object missing required field `page`"),
    Broken(
        "missing field, purchase",
        PURCHASE,
        without(VALID_PURCHASE, "currency"),
        "Object missing required field `currency`",
    ),
    Broken("number as text", WEB, web(user_id="7"), "Expected `int`, got `str` - at `$.user_id`"),
    Broken("1.0 for 1", PURCHASE, purchase(quantity=1.0), "Expected `int`, got `float` - at `$.quantity`"),
    Broken("true for 1", PURCHASE, purchase(quantity=True), "Expected `int`, got `bool` - at `$.quantity`"),
    Broken("null for a text", WEB, web(page=None), "Expected `str`, got `null` - at `$.page`"),
    Broken(
        "unknown event type", WEB, web(event_type="dance"), "Invalid enum value 'dance' - at `$.event_type`"
    ),
    Broken(
        "terminal escapes",
        WEB,
        web(event_type="\x1b[2Jhidden\n\r\u202e"),
        r"Invalid enum value '\x1b[2Jhidden\n\r\u202e' - at `$.event_type`",
    ),
    Broken("negative amount", PURCHASE, purchase(amount=-1), "Expected `int` >= 0 - at `$.amount`"),
    Broken("quantity of 0", PURCHASE, purchase(quantity=0), "Expected `int` >= 1 - at `$.quantity`"),
    Broken("not a UUID", WEB, web(event_id="17"), "Invalid UUID - at `$.event_id`"),
    Broken(
        "not a currency",
        PURCHASE,
        purchase(currency="won"),
        "Expected `str` matching regex '^[A-Z]{3}' - at `$.currency`",
    ),
    Broken(
        "currency with line feed",
        PURCHASE,
        purchase(currency="KRW\n"),
        "Expected `str` of length <= 3 - at `$.currency`",
    ),
    Broken(
        "impossible date",
        WEB,
        web(timestamp="2026-02-30T09:00:00+09:00"),
        "Invalid RFC3339 encoded datetime - at `$.timestamp`",
    ),
    Broken(
        "date without offset",
        PURCHASE,
        purchase(timestamp="2026-11-22T09:00:00"),
        "Expected `datetime` with a timezone component - at `$.timestamp`",
    ),
    Broken(
        "date as a number",
        WEB,
        web(timestamp=1_795_300_000),
        "Expected `datetime`, got `int` - at `$.timestamp`",
    ),
    Broken(
        "date before the year 1 in UTC",
        WEB,
        web(timestamp="0001-01-01T00:00:00+09:00"),
        "Timestamp is outside of the years 1 to 9999 in UTC",
    ),
    Broken(
        "half a surrogate pair",
        WEB,
        with_raw_page(rb"\ud800"),
        "JSON is malformed: unexpected end of escaped utf-16 surrogate pair (byte 109)",
    ),
)
