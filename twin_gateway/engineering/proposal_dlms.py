"""Proposals for DLMS by the rules of the import: a meter that pushes and nobody knows, an object without a point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.discovery import MeterObject
from twin_gateway.engineering.dlms_import_places import generic_place, place_of
from twin_gateway.engineering.draft import DeviceDraft, PointDraft, Value, at_key
from twin_gateway.engineering.live_import import free_name, name_of
from twin_gateway.engineering.proposal_rules import Known, NotProposedError, Row, home_of
from twin_gateway.mapping.model import MappedDevice


def meter(stray: Mapping[str, Any], names: set[str], like: MappedDevice) -> DeviceDraft:
    """A section for a meter that listens where the others do; with the energy registers that every meter has."""
    fields, config = stray["fields"], like.config
    if "meter_title" in fields:
        hint = "'twin-gateway import dlms' reads it once you have its keys"
        raise NotProposedError("it sends ciphered, and its keys are not known here", hint)
    if "logical_device" not in fields or not isinstance(config, DlmsConfig) or config.push is None:
        raise NotProposedError("it was not said which meter it is", "'twin-gateway import dlms HOST' asks it")
    host, number = str(fields["host"]), int(fields["logical_device"])
    name = free_name(name_of("meter", f"{host}-{number}"), names)
    section: dict[str, Value] = {
        "host": host,
        "port": config.port,
        "logical_device": number,
        "push": {"listen": config.push.listen},
    }
    made = DeviceDraft(name, "dlms", section, comment="Port as of a meter that is known, registers as of any meter.")
    made.at_place(f"_/_/{name}").points = [
        PointDraft("MMTR1/DmdWh", {"obis": "1-0:1.8.0"}),
        PointDraft("MMTR1/SupWh", {"obis": "1-0:2.8.0"}),
    ]
    return made


def register(known: Known, stray: Mapping[str, Any]) -> Row:
    """A line for an object of a known meter."""
    fields = dict(stray["fields"])
    name = obis.parse(str(fields["obis"]))
    class_id = int(fields.get("class", obis.default_class(name)))
    item = MeterObject(class_id, 0, name)
    placed = place_of(item).replace("CSWI", "XSWI")
    key = placed or (generic_place(item, "AnIn1") if class_id in obis.WITH_UNIT else "")
    if not key:
        hint = "'twin-gateway import dlms FILE --mode merge' asks for its value and says more"
        raise NotProposedError("it has no place that is known", hint)
    places = {tuple(point.address.split("/")[3:6]) for point in known.device.points}
    if len(places) == 1:
        at, before = at_key(*places.pop())
        return Row(at, PointDraft(before + key, fields), guessed=not placed)
    return Row(home_of(known.device), PointDraft(key, fields))
