"""Freshness and order of one resource, without a network."""

from typing import Any

import pytest

from address_space import clock
from address_space.catalogue import ValueType
from address_space.quality import Quality, StatusCode, TimeFlag, status_of
from twin_gateway.drivers.coap.client import Response
from twin_gateway.drivers.coap.observation import newer
from twin_gateway.drivers.coap.resource import Key, Resource, Samples
from twin_gateway.drivers.contract import BoundPoint

NOW = 1_795_000_000.0


def resource(*fields: dict[str, Any], stale_after: float | None = None, poll: float | None = None) -> Resource:
    made = Resource(Key("/r", None), poll)
    for row, own in enumerate(fields):
        made.add(BoundPoint(row, f"p{row}", "MV", ValueType.DOUBLE, {"path": "/r", **own}, stale_after=stale_after))
    return made


def response(payload: bytes = b"1", *, at: float = 100.0, code: int = 205, max_age: int | None = None) -> Response:
    return Response(code, payload, None, max_age, NOW + at, at, observed=True)


def take(made: Resource, what: Response) -> tuple[Samples, Samples, list[str]]:
    live, late = Samples(), Samples()
    return live, late, made.take(what, live, late)


def aged(made: Resource, now: float) -> list[StatusCode]:
    live = Samples()
    made.grow_old(now, live)
    return [status_of(word) for word in live.quality]


@pytest.mark.parametrize(
    ("max_age", "stale_after", "lifetime"), [(10, None, 10.0), (None, None, 60.0), (10, 900.0, 900.0), (0, None, 1.0)]
)
def test_a_value_lives_for_max_age_unless_the_engineer_knows_better(
    max_age: int | None, stale_after: float | None, lifetime: float
) -> None:
    made = resource({}, stale_after=stale_after)
    live, _, _ = take(made, response(max_age=max_age))
    assert status_of(live.quality[0]) is StatusCode.Good
    assert made.lifetime == lifetime
    assert aged(made, 100 + lifetime) == []
    assert aged(made, 100 + lifetime + 0.1) == [StatusCode.UncertainLastUsableValue]
    assert aged(made, 100 + 3 * lifetime) == []
    assert aged(made, 100 + 3 * lifetime + 0.1) == [StatusCode.UncertainNoCommunicationLastUsableValue]
    assert aged(made, 1e9) == []


def test_a_polled_value_lives_until_the_next_poll_when_the_device_says_nothing() -> None:
    made = resource({"observe": False}, poll=300.0)
    take(made, response())
    assert made.lifetime == 375.0
    take(made, response(max_age=20))
    assert made.lifetime == 20.0


def test_a_fresh_value_makes_an_old_one_good_again() -> None:
    made = resource({})
    take(made, response(max_age=1))
    assert aged(made, 102) == [StatusCode.UncertainLastUsableValue]
    live, _, _ = take(made, response(b"1", at=103, max_age=1))
    assert status_of(live.quality[0]) is StatusCode.Good


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (404, StatusCode.BadConfigurationError),
        (401, StatusCode.BadConfigurationError),
        (500, StatusCode.BadDeviceFailure),
    ],
)
def test_a_refusal_keeps_the_value_and_its_time_and_says_why_it_is_bad(code: int, status: StatusCode) -> None:
    made = resource({})
    first, _, _ = take(made, response(b"7"))
    live, _, _ = take(made, response(b"", code=code))
    assert (live.values, live.times) == ([7.0], first.times)
    assert status_of(live.quality[0]) is status
    assert aged(made, 1e9) == [], "a refusal does not grow old"


def test_too_many_requests_says_nothing_of_the_value() -> None:
    made = resource({})
    take(made, response(b"7"))
    live, _, _ = take(made, response(b"", code=429))
    assert live.values == []


def test_a_point_that_never_had_a_value_is_invalid_when_it_is_refused() -> None:
    live, _, _ = take(resource({}), response(b"", code=503))
    assert live.quality[0] & Quality.INVALID
    assert live.times == [0], "no time is made up"


def test_a_device_time_is_kept_however_old_and_a_clock_may_step_back() -> None:
    made = resource({"name": "a"})
    live, _, _ = take(made, response(b'[{"n":"a","bt":1700000000,"v":1}]'))
    assert live.times == [clock.from_unix(1_700_000_000)]
    assert not live.quality[0] & TimeFlag.RECEIVED
    live, late, _ = take(made, response(b'[{"n":"a","bt":1690000000,"v":3},{"n":"a","t":-9,"v":2}]'))
    assert (live.values, live.times) == ([3.0], [clock.from_unix(1_690_000_000)])
    assert (late.values, late.times) == ([2.0], [clock.from_unix(1_689_999_991)])


def test_records_of_a_pack_that_were_seen_before_are_not_late_again() -> None:
    made = resource({"name": "a"})
    _, late, _ = take(made, response(b'[{"bn":"a","bt":1700000000,"v":3},{"t":-1,"v":2}]'))
    assert late.values == [2.0]
    _, late, _ = take(made, response(b'[{"bn":"a","bt":1700000001,"v":4},{"t":-1,"v":3},{"t":-2,"v":2}]'))
    assert late.values == []
    _, late, _ = take(made, response(b'[{"bn":"a","bt":1700000009,"v":4},{"t":-1,"v":3},{"t":-8,"v":4}]'))
    assert late.values == [3.0]


def test_a_point_that_the_payload_lacks_leaves_the_others_alone() -> None:
    made = resource({"name": "a"}, {"name": "b"})
    live, _, errors = take(made, response(b'[{"n":"a","v":1}]'))
    assert len(errors) == 1
    assert dict(zip(live.rows, live.quality, strict=True))[0] == TimeFlag.RECEIVED
    assert status_of(dict(zip(live.rows, live.quality, strict=True))[1]) is StatusCode.BadConfigurationError


@pytest.mark.parametrize(
    ("old", "new", "later"),
    [
        (1, 2, True),
        (2, 1, False),
        (5, 5, False),
        (0xFFFFFF, 0, True),
        (0, 0xFFFFFF, False),
        (0, (1 << 23) - 1, True),
        (0, 1 << 23, False),
        ((1 << 23) + 1, 0, True),
        (1 << 23, 0, False),
    ],
)
def test_observe_numbers_are_ordered_on_their_circle(old: int, new: int, later: bool) -> None:
    assert newer(old, new) is later


@pytest.mark.parametrize(
    ("payload", "form", "text"),
    [
        (b"007", 0, "007"),
        (b"1.10", 0, "1.10"),
        (b"on", 0, "on"),
        (b"0x10", None, "0x10"),
        (b"true", 50, "true"),
        (b'"1.10"', 50, "1.10"),
    ],
)
def test_a_text_point_has_what_the_device_wrote(payload: bytes, form: int | None, text: str) -> None:
    made = Resource(Key("/version", None), None)
    made.add(BoundPoint(0, "p0", "VSS", ValueType.STRING, {"path": "/version"}))
    live, _, errors = take(made, Response(205, payload, form, None, NOW, 1.0, observed=True))
    assert errors == []
    assert [sample.text for sample in live.texts] == [text]
