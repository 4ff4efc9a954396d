"""Values as people read them."""

from __future__ import annotations

import pytest

from twin_gateway.commissioning.reading import value_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "true"),
        (2, "2"),
        (0.1 + 0.2, "0.3"),
        (1193916.04, "1193916"),
        ("on", "on"),
        ("bad\x1b[1A\r\ngood", "bad [1A good"),
    ],
)
def test_a_value_is_one_line_and_steers_no_terminal(value: bool | int | float | str | None, text: str) -> None:
    assert value_text(value) == text


def test_a_protocol_has_more_digits() -> None:
    assert value_text(1193916.04, digits=9) == "1193916.04"
