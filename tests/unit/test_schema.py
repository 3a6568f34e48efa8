"""schema.py: a strict schema for each source, one for all outputs, and a reason for every broken event."""

import json
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schema import (
    OTHER_REASON,
    REASON_CLASSES,
    BrokenEventError,
    encode,
    normalize_purchase,
    normalize_web,
    reason_class,
)
from tests.broken_events import (
    PURCHASE,
    TABLE,
    VALID,
    VALID_PURCHASE,
    VALID_WEB,
    WEB,
    Broken,
    purchase,
    web,
    with_raw_page,
)

NORMALIZE = {WEB: normalize_web, PURCHASE: normalize_purchase}
SOURCES = st.sampled_from([WEB, PURCHASE])
TEXT = st.text('aé한🎉\x00\n"\\', max_size=9)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)


def test_a_web_event_in_the_common_schema() -> None:
    assert json.loads(encode(normalize_web(web()))) == {
        "event_id": VALID_WEB["event_id"],
        "event_type": "page_view",
        "source": "web",
        "user_id": 7,
        "occurred_at": "2026-11-22T00:00:00Z",
        "details": {"page": "/products/17"},
    }


def test_a_purchase_in_the_common_schema() -> None:
    assert json.loads(encode(normalize_purchase(purchase()))) == {
        "event_id": VALID_PURCHASE["order_id"],
        "event_type": "purchase",
        "source": "purchase",
        "user_id": 7,
        "occurred_at": "2026-11-22T00:00:00Z",
        "details": {"product_id": "P-17", "quantity": 2, "amount": 25_800, "currency": "KRW"},
    }


@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: broken.name)
def test_every_broken_event_has_a_reason_a_person_understands(broken: Broken) -> None:
    with pytest.raises(BrokenEventError) as raised:
        NORMALIZE[broken.source](broken.value)
    assert str(raised.value) == broken.reason


@pytest.mark.parametrize(
    "value",
    [
        web(unknown={"deep": [1, None]}),
        web(user_id=2**63 - 1),
        web(user_id=-(2**63)),
        web(page=""),
        web(page='한국어 🎉 \\ " \x00'),
        web(timestamp="2026-11-22T00:00:00Z"),
        web(timestamp="2026-11-22t09:00:00.123456789+09:00"),
        web(timestamp="2028-02-29T00:00:00-12:00"),
        with_raw_page("한국어".encode()),
        b"  " + web() + b"\n",
    ],
)  # fmt: skip
def test_unusual_but_valid(value: bytes) -> None:
    event = normalize_web(value)
    assert event.details["page"] == json.loads(value)["page"]
    assert event.occurred_at.tzinfo is timezone.utc


@given(SOURCES, st.binary())
def test_any_bytes_are_clean_or_broken_and_nothing_else(source: str, value: bytes) -> None:
    reason = ""
    try:
        encode(NORMALIZE[source](value))
    except BrokenEventError as error:
        reason = str(error)
    assert reason.isprintable()


@given(SOURCES, st.dictionaries(st.sampled_from([*VALID_WEB, *VALID_PURCHASE]), ANY_JSON))
def test_any_value_in_any_field_is_clean_or_broken_and_nothing_else(
    source: str, changes: dict[str, object]
) -> None:
    value = json.dumps({**VALID[source], **changes}).encode()
    reason = ""
    try:
        event = NORMALIZE[source](value)
    except BrokenEventError as error:
        reason = str(error)
    else:
        assert event.user_id == json.loads(value)["user_id"]
    assert reason.isprintable()


@given(
    st.uuids(),
    st.integers(-(2**63), 2**63 - 1),
    TEXT,
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),
    st.integers(-23 * 60, 23 * 60),
)
def test_every_valid_web_event_is_clean_and_keeps_its_meaning(
    event_id: UUID, user_id: int, page: str, when: datetime, offset_minutes: int
) -> None:
    local = when.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    value = web(event_id=str(event_id), user_id=user_id, page=page, timestamp=local.isoformat())
    event = normalize_web(value)
    assert (event.event_id, event.user_id, event.details) == (event_id, user_id, {"page": page})
    assert event.occurred_at == local


def test_each_reason_has_a_class() -> None:
    classes = {broken.name: reason_class(BrokenEventError(broken.reason)) for broken in TABLE}
    assert OTHER_REASON not in classes.values(), classes
    assert set(REASON_CLASSES) - set(classes.values()) <= {OTHER_REASON, "bad_header"}
    assert classes["cut JSON"] == classes["BOM"] == "not_json"
    assert classes["array"] == classes["text"] == "wrong_type"
    assert reason_class(BrokenEventError("Header name is not UTF-8: x")) == "bad_header"
    assert reason_class(BrokenEventError("a reason that somebody adds")) == OTHER_REASON


@given(SOURCES, ANY_JSON | st.binary(max_size=30))
def test_an_event_makes_no_class_of_its_own(source: str, value: object) -> None:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(BrokenEventError) as error:
        NORMALIZE[source](content)
    assert reason_class(error.value) in REASON_CLASSES
