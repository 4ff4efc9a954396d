"""A point ages by what was said of it, not by what was said of its neighbours in the same resource."""

from __future__ import annotations

from unit.coap.test_coap_resource import aged, resource, response, take

from address_space.quality import StatusCode

BOTH, ONE = b'[{"n":"a","v":1},{"n":"b","v":2}]', b'[{"n":"a","v":1}]'


def test_a_point_that_the_payload_no_longer_has_grows_old_while_its_neighbour_stays_fresh() -> None:
    made = resource({"name": "a"}, {"name": "b"})
    take(made, response(BOTH, at=100.0, max_age=10))
    for at in (108.0, 116.0, 124.0):
        live, _, errors = take(made, response(ONE, at=at, max_age=10))
        assert live.rows == [0]
        assert len(errors) == 1
    assert aged(made, 124.1) == [StatusCode.UncertainLastUsableValue]
    take(made, response(ONE, at=132.0, max_age=10))
    assert aged(made, 132.1) == [StatusCode.UncertainNoCommunicationLastUsableValue]
    assert aged(made, 133.0) == []


def test_a_point_that_comes_back_into_the_payload_is_fresh_again() -> None:
    made = resource({"name": "a"}, {"name": "b"})
    take(made, response(BOTH, at=100.0, max_age=10))
    take(made, response(ONE, at=109.0, max_age=10))
    assert aged(made, 111.0) == [StatusCode.UncertainLastUsableValue]
    live, _, _ = take(made, response(BOTH, at=112.0, max_age=10))
    assert live.quality[live.rows.index(1)] & 0xFFFFFF == 0
    assert aged(made, 121.0) == []
