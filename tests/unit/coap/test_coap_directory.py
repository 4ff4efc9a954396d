"""The resource directory without a network: registrations, their limits, lookups."""

import asyncio
import time

import aiocoap
import pytest

from twin_gateway.drivers.coap import directory as subject
from twin_gateway.drivers.coap.directory import Directory, RefusedError, Registration
from twin_gateway.drivers.coap.directory_listener import DirectoryListener
from twin_gateway.drivers.coap.directory_settings import DirectorySettings

SENSOR = ("192.0.2.7", 40_000)
LINKS = b'</3303/0>;rt="oma.lwm2m",</3/0>;obs'


def registered(
    directory: Directory, name: str = "node1", source: tuple[str, int] = SENSOR, **more: str
) -> Registration:
    return directory.register({"ep": name, "lt": "60", **more}, LINKS, source)


def test_an_endpoint_is_found_by_its_name_until_its_lifetime_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory()
    made = registered(directory, lwm2m="1.1", b="U")
    assert directory.find("node1") == made
    assert [link.target for link in made.links] == ["/3303/0", "/3/0"]
    now = time.monotonic()
    monkeypatch.setattr(subject.time, "monotonic", lambda: now + 61)
    assert directory.find("node1") is None
    directory.expire()
    assert len(directory) == 0


def test_an_update_prolongs_and_keeps_what_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory()
    made = registered(directory)
    now = time.monotonic()
    monkeypatch.setattr(subject.time, "monotonic", lambda: now + 50)
    moved = directory.update(made.location, {}, b"", (SENSOR[0], 40_001))
    assert (moved.links, moved.lifetime, moved.address[1]) == (made.links, 60, 40_001)
    monkeypatch.setattr(subject.time, "monotonic", lambda: now + 100)
    assert directory.find("node1") == moved


def test_a_second_registration_keeps_its_location_and_replaces_the_first() -> None:
    directory = Directory()
    first = registered(directory)
    second = directory.register({"ep": "node1"}, b"</x>", SENSOR)
    assert second.location == first.location
    assert [link.target for link in second.links] == ["/x"]
    assert len(directory) == 1


def test_a_name_belongs_to_the_address_that_registered_it() -> None:
    directory = Directory()
    made = registered(directory)
    stranger = ("198.51.100.9", 5683)
    for attempt in (
        lambda: registered(directory, source=stranger),
        lambda: directory.update(made.location, {}, b"", stranger),
        lambda: directory.remove(made.location, stranger),
    ):
        with pytest.raises(RefusedError) as refused:
            attempt()
        assert refused.value.code == 403
    directory.remove(made.location, SENSOR)
    assert registered(directory, source=stranger).address == stranger


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"ep": "x" * 64},
        {"ep": 'a"b'},
        {"ep": "a", "lt": "0"},
        {"ep": "a", "lt": "-1"},
        {"ep": "a", "lt": "9" * 11},
        {"ep": "a", "base": "coap://203.0.113.1"},
        {"ep": "a", "base": "coap://192.0.2.7:1"},
        {"ep": "a", "et": "x" * 256},
        {"ep": "a", **{f"p{number}": "" for number in range(20)}},
    ],
)
def test_registrations_that_say_something_wrong_are_refused(parameters: dict[str, str]) -> None:
    directory = Directory()
    with pytest.raises(RefusedError) as refused:
        directory.register(parameters, LINKS, SENSOR)
    assert refused.value.code == 400
    assert len(directory) == 0


def test_size_and_number_are_limited() -> None:
    directory = Directory(most=2)
    with pytest.raises(RefusedError) as refused:
        directory.register({"ep": "a"}, b"</x>," * 10_000, SENSOR)
    assert refused.value.code == 413
    with pytest.raises(RefusedError) as refused:
        directory.register({"ep": "a"}, b",".join([b"</x>"] * 501), SENSOR)
    assert refused.value.code == 413
    registered(directory, "a")
    registered(directory, "b")
    with pytest.raises(RefusedError) as refused:
        registered(directory, "c")
    assert refused.value.code == 503
    registered(directory, "a")


def test_lookups_are_filtered_and_paged() -> None:
    directory = Directory()
    registered(directory, "node1", et="oma.lwm2m")
    registered(directory, "node2")
    assert len(directory.endpoints({})) == 2
    (line,) = directory.endpoints({"et": "oma.*"})
    assert 'ep="node1"' in line
    assert 'base="coap://192.0.2.7:40000"' in line
    assert 'rt="core.rd-ep"' in line
    assert directory.resources({"rt": "oma.lwm2m", "ep": "node2"}) == ['<coap://192.0.2.7:40000/3303/0>;rt="oma.lwm2m"']
    assert directory.endpoints({"count": "1", "page": "1"}) == directory.endpoints({})[1:]


async def test_who_waits_for_an_endpoint_is_told_of_changes_only() -> None:
    directory = Directory()
    waiting = asyncio.create_task(directory.changed("node1"))
    await asyncio.sleep(0)
    made = registered(directory)
    await waiting
    waiting = asyncio.create_task(directory.changed("node1"))
    await asyncio.sleep(0)
    directory.update(made.location, {"lt": "90"}, b"", SENSOR)
    await asyncio.sleep(0)
    assert not waiting.done()
    directory.remove(made.location, SENSOR)
    await waiting


def test_people_are_told_of_endpoints_that_no_mapping_names_once() -> None:
    directory, told = Directory(), list[str]()
    directory.told = lambda made: told.append(made.name)
    directory.expect("known")
    for name in ("known", "new", "new"):
        registered(directory, name)
    assert told == ["new"]


class Asked:
    """A listener without a socket: requests in, answers out."""

    def __init__(self, **settings: int) -> None:
        self.directory = Directory()
        self.listener = DirectoryListener(DirectorySettings(**settings), self.directory)
        self._mid = 0

    def datagram(self, octets: bytes, source: tuple[str, int] = SENSOR) -> list[bytes]:
        answers: list[bytes] = []
        self.listener.handle(octets, source, answers.append)
        return answers

    def __call__(
        self, code: int, path: str, payload: bytes = b"", source: tuple[str, int] = SENSOR, **options: object
    ) -> aiocoap.Message:
        self._mid += 1
        message = aiocoap.Message(code=code, uri=f"coap://x{path}", payload=payload)
        message.mtype, message.mid, message.token = aiocoap.CON, self._mid, b"t"
        for name, value in options.items():
            setattr(message.opt, name, value)
        message.remote = None
        (answer,) = self.datagram(message.encode(), source)
        return aiocoap.Message.decode(answer)


def test_large_registrations_come_in_blocks_and_in_order() -> None:
    asked = Asked()
    links = b",".join(b"</%d/0>" % number for number in range(200))
    for number in range(0, len(links), 256):
        part = links[number : number + 256]
        more = number + 256 < len(links)
        answer = asked(aiocoap.POST, "/rd?ep=big", part, block1=(number // 256, more, 4))
        assert answer.code == (aiocoap.CONTINUE if more else aiocoap.CREATED)
    found = asked.directory.find("big")
    assert found is not None
    assert len(found.links) == 200
    assert asked(aiocoap.POST, "/rd?ep=big", links[:256], block1=(3, True, 4)).code == aiocoap.REQUEST_ENTITY_INCOMPLETE


def test_a_request_that_is_repeated_is_carried_out_once() -> None:
    asked = Asked()
    message = aiocoap.Message(code=aiocoap.POST, uri="coap://x/rd?ep=a", payload=b"</x>")
    message.mtype, message.mid, message.remote = aiocoap.CON, 77, None
    assert asked.datagram(message.encode()) == asked.datagram(message.encode())
    (known,) = asked.directory
    assert known.name == "a"


def posted(name: str, message_id: int = 1) -> bytes:
    message = aiocoap.Message(code=aiocoap.POST, uri=f"coap://x/rd?ep={name}", payload=b"</x>")
    message.mtype, message.mid, message.remote = aiocoap.CON, message_id, None
    return bytes(message.encode())


def test_a_restarted_device_that_counts_from_the_beginning_is_no_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    asked.datagram(posted("a"))
    asked.datagram(posted("b"))
    assert [known.name for known in asked.directory] == ["a", "b"], "the same number, another request"
    now = time.monotonic()
    (first,) = asked.directory.endpoints({"ep": "a"})
    asked.directory.remove(asked.directory.find("a").location, SENSOR)  # type: ignore[union-attr]  # it is there
    monkeypatch.setattr(subject.time, "monotonic", lambda: now + 248)
    asked.datagram(posted("a"))
    assert asked.directory.endpoints({"ep": "a"}) != [first], "RFC 7252 4.8.2: the same octets, four minutes later"


def test_one_address_does_not_fill_the_directory_and_mapped_endpoints_always_have_a_place() -> None:
    directory = Directory(most=4, most_of_one=2)
    directory.expect("ours")
    for name in ("a", "b"):
        registered(directory, name)
    with pytest.raises(RefusedError, match="2 endpoints of this address") as refused:
        registered(directory, "c")
    assert refused.value.code == 503
    for name in ("d", "e"):
        registered(directory, name, ("192.0.2.8", 1))
    with pytest.raises(RefusedError, match="holds 4 endpoints"):
        registered(directory, "f", ("192.0.2.9", 1))
    assert registered(directory, "ours").name == "ours"


def test_one_address_does_not_push_out_the_transfers_of_others() -> None:
    asked = Asked(rate=1000)
    part = b"</x>" + b" " * 12
    assert asked(aiocoap.POST, "/rd?ep=a", part, block1=(0, True, 0)).code == aiocoap.CONTINUE
    for number in range(100):
        asked(aiocoap.POST, f"/rd?ep=x{number}", part, ("192.0.2.8", 1), block1=(0, True, 0))
    assert asked(aiocoap.POST, "/rd?ep=a", b"", block1=(1, False, 0)).code == aiocoap.CREATED


def test_one_address_gets_its_rate_and_no_more() -> None:
    asked = Asked(rate=5)
    octets = bytes.fromhex("40010001b22e77")
    answered = sum(bool(asked.datagram(octets)) for _ in range(50))
    assert 5 <= answered <= 7
    assert asked.listener.counters["limited"] == 50 - answered
    assert asked.datagram(octets, ("192.0.2.8", 1)), "others are not affected"


def test_lookups_from_elsewhere_and_unknown_critical_options_are_refused() -> None:
    asked = Asked()
    assert asked(aiocoap.GET, "/rd-lookup/ep").code == aiocoap.FORBIDDEN
    assert asked(aiocoap.GET, "/rd-lookup/ep", source=("127.0.0.1", 9)).code == aiocoap.CONTENT
    assert asked(aiocoap.POST, "/rd?ep=a", if_none_match=True).code == aiocoap.BAD_OPTION
    assert asked(aiocoap.POST, "/elsewhere").code == aiocoap.NOT_FOUND
    assert asked(aiocoap.POST, "/rd?ep=a", b"{}", content_format=50).code == aiocoap.UNSUPPORTED_CONTENT_FORMAT


def test_a_long_lookup_is_answered_in_blocks() -> None:
    asked = Asked()
    for number in range(100):
        registered(asked.directory, f"node{number:03}")
    body, number = b"", 0
    while True:
        answer = asked(aiocoap.GET, "/rd-lookup/ep", source=("127.0.0.1", 9), block2=(number, False, 6))
        body += answer.payload
        number += 1
        if not answer.opt.block2.more:
            break
        assert len(answer.payload) == 1024
    assert body.count(b"ep=") == 100


@pytest.mark.parametrize("octets", [b"", b"\x00", b"\x40", bytes.fromhex("4f010001"), b"\xff" * 60])
def test_damaged_datagrams_cost_a_count(octets: bytes) -> None:
    asked = Asked()
    assert asked.datagram(octets) == []
    assert asked.listener.counters["malformed"] == 1


def test_a_directory_on_the_network_has_to_be_wanted() -> None:
    with pytest.raises(ValueError, match="separate_network: true"):
        DirectorySettings(host="0.0.0.0")
    assert DirectorySettings(host="10.0.0.1", separate_network=True).port == 5683
