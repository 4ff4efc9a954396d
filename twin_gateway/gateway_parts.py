"""What a gateway is made of, as its configuration says: one function makes one part.

What is large and not in every gateway is imported by the function that makes it: start and memory are spared it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from address_space.alias import AddressBook
from address_space.opcua.settings import Ports, ServerSettings
from twin_gateway import __version__
from twin_gateway.commands.interlock import TwinInterlock
from twin_gateway.commands.tags import TagStore
from twin_gateway.config import ConfigError, GatewayConfig
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.host import Hosted
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.rule_alarms import RuleAlarms
from twin_gateway.gateway_metrics import collect
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.metrics import render
from twin_gateway.own_conditions import OwnConditions
from twin_gateway.plant import aliases_of, rules_of
from twin_gateway.schemes import make_book as make_address_book
from twin_gateway.watching import Watch

if TYPE_CHECKING:
    from twin_gateway.functions.supervision import Supervision
    from twin_gateway.gateway import Gateway
    from twin_gateway.history.service import History
    from twin_gateway.http import HttpServer
    from twin_gateway.mqtt.mirror import Mirror


def make_tags(gateway: Gateway) -> TagStore | None:
    """The safety tags."""
    path = gateway.config.data_directory / "tags.sqlite"
    if gateway.config.twin is None and not path.exists():
        return None  # tags that were once set stand, also when the twin functions have been switched off
    known, tree = {*gateway.grid.equipment, *gateway.grid.nodes}, gateway.table.tree
    return TagStore(
        path,
        policy=gateway.policy,
        audit=gateway.audit,
        events=gateway.events,
        exists=lambda address: address in known or tree.find(address) >= 0,
    )


def make_interlock(gateway: Gateway) -> TwinInterlock | None:
    """The twin's interlocking of commands; None without tags or without equipment."""
    if gateway.tags is None or not gateway.grid.equipment:
        return None
    return TwinInterlock(gateway.table, gateway.grid, gateway.tags, policy=gateway.policy, audit=gateway.audit)


def make_twin(gateway: Gateway) -> Sequence[Hosted]:
    """The twin functions.

    Raises:
        ConfigError: the file of nameplates has errors.
    """
    section = gateway.config.twin
    if section is None:
        return ()
    from twin_gateway.functions.compose import Surroundings, make_functions
    from twin_gateway.functions.switchgear import NameplateError

    folder = gateway.config.data_directory / "twin"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    context = TwinContext(
        table=gateway.table,
        events=gateway.events,
        alarms=gateway.alarms,
        results=ResultPoints(gateway.table),
        worker=gateway.worker,
        grid=gateway.grid,
        place=section.place,
        desk=gateway.desk,
        policy=gateway.policy,
        audit=gateway.audit,
        data_directory=folder,
    )
    desk, tags = gateway.desk, gateway.tags
    around = Surroundings(
        links=gateway.plant.links,
        protocols=gateway.protocols(),
        gateway=gateway.place,
        authority=gateway.config.authority,
        commands=lambda: (desk.counters["commands"], desk.counters["unknown"]),
        last_sent=desk.last_sent,
        tags=lambda address: [str(tag) for tag in tags.at(address)] if tags is not None else [],
    )
    try:
        return make_functions(context, section, around)
    except NameplateError as error:
        raise ConfigError(str(error)) from error


def make_mirror(gateway: Gateway) -> Mirror | None:
    """The mirror to an MQTT broker."""
    if gateway.config.mqtt is None:
        return None
    from twin_gateway.mqtt.mirror import Mirror

    mapping, devices = gateway.mapping, {device.name: device for device in gateway.mapping.devices}

    def alias(link: str, source: int | str) -> str:
        nonlocal mapping, devices
        if mapping is not gateway.mapping:
            mapping, devices = gateway.mapping, {device.name: device for device in gateway.mapping.devices}
        device = devices[link]
        return f"{device.spec.scheme}:{device.spec.alias(link, device.config, source)}"

    return Mirror(
        gateway.table,
        gateway.events,
        gateway.config.mqtt,
        gateway=gateway.place,
        link_states=gateway.link_states,
        binding=alias,
    )


def make_http(gateway: Gateway) -> HttpServer | None:
    """Health and metrics by HTTP."""
    section = gateway.config.http
    if section is None:
        return None
    from twin_gateway.http import HttpServer

    return HttpServer(section.host, section.port, gateway.health, lambda: render(collect(gateway)))


def make_history(gateway: Gateway) -> History | None:
    """The history of all points."""
    settings = gateway.config.history
    if not settings.enabled:
        return None
    from twin_gateway.history.service import History

    folder = settings.folder or gateway.config.data_directory / "history"
    return History(gateway.table, gateway.events, settings, folder, alarms=gateway.alarms, place=gateway.place)


def make_rules(gateway: Gateway) -> RuleAlarms | None:
    """The alarm rules of the mapping; None where it has none."""
    rules = rules_of(gateway.mapping)
    if not rules:
        return None
    marks = [each.mark_of_place for each in supervisions(gateway)]
    return RuleAlarms(gateway.table, gateway.alarms, rules, mark=marks[0] if marks else lambda _address: "")


def supervisions(gateway: Gateway) -> list[Supervision]:
    """The supervision of the devices, where the twin functions are on: one, or none."""
    if not gateway.twin.functions:
        return []
    from twin_gateway.functions.supervision import Supervision

    return [each for each in gateway.twin.functions if isinstance(each, Supervision)]


def make_own_conditions(gateway: Gateway) -> OwnConditions:
    """The watch over the gateway's own condition."""

    def broker() -> str | None:
        if gateway.mirror is None:
            return None
        counters = gateway.mirror.counters
        return "" if counters.connected else counters.last_error

    folder, twin = gateway.config.data_directory, gateway.twin
    return OwnConditions(gateway.alarms, gateway.place, folder, broker=broker, failed=lambda: twin.failed)


def make_book(gateway: Gateway, mapping: PointMapping) -> AddressBook:
    """The address book of a mapping and of the grid model.

    Raises:
        AliasError: one alias names two addresses.
    """
    config = gateway.config
    book = make_address_book(mapping, aliases_of(mapping), gateway.table, config.authority, mqtt_root(config))
    for alias, address in gateway.grid.aliases().items():
        book.add_alias(alias, address)
    return book


def make_watch(gateway: Gateway) -> Watch | None:
    """The watch over the mapping files; None where nobody wants it, or nothing was read from files."""
    config = gateway.config
    if config.watch == "off" or gateway.changes.revision is None:
        return None
    return Watch(gateway.changes, apply=config.watch == "apply", every=config.watch_interval)


def make_ports(gateway: Gateway) -> Ports:
    """What the OPC UA server is given of the gateway."""
    return Ports(
        policy=gateway.policy,
        desk=gateway.desk,
        audit=gateway.audit,
        events=gateway.events,
        conditions=gateway.conditions,
        history=gateway.history,
        providers=(gateway.twin,),
        control_model=gateway.desk.control_model,
        mapping_revision=gateway.changes.hash,
    )


def server_settings(config: GatewayConfig) -> ServerSettings:
    """What the configuration says of the OPC UA server."""
    section = config.opcua
    return ServerSettings(
        host=section.host,
        port=section.port,
        authority=config.authority,
        pki_directory=config.data_directory / "pki",
        application_uri=section.application_uri,
        security=section.modes(),
        security_none=section.security_none,
        policies=section.policies,
        trust_any_client=section.trust_any_client,
        key_bits=section.key_bits,
        host_names=section.host_names,
        software_version=__version__,
        mqtt_root=mqtt_root(config),
    )


def mqtt_root(config: GatewayConfig) -> str:
    """First level of the topics, also where there is no broker: names of topics are aliases."""
    return config.mqtt.root if config.mqtt is not None else "twin"
