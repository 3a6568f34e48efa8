"""text.py: any bytes are safe when they are printed, and JSON keeps any text."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipeline.text import bytes_text, json_text

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x1b\x9b\x7f\u202e\U000e0001"))


@given(st.binary())
def test_bytes_are_shown_in_printable_characters(content: bytes) -> None:
    assert bytes_text(content).isprintable()


def test_text_is_shown_as_it_is() -> None:
    assert bytes_text("주문 é 🎉".encode()) == "주문 é 🎉"
    assert (bytes_text(None), bytes_text(b"")) == ("(null)", "(empty)")


@given(ANY_TEXT)
def test_json_holds_no_control_characters_and_decodes_to_the_same_text(text: str) -> None:
    encoded = json_text({"text": text})
    assert not any(unicodedata.category(letter).startswith("C") for letter in encoded)
    assert json.loads(encoded) == {"text": text}
