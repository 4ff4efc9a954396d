"""Proposals for CoAP: an endpoint that has registered, a resource that no point takes; by the rules of the import."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from twin_gateway.drivers.coap.linkformat import WebLink
from twin_gateway.engineering.coap_import import draft_sensors
from twin_gateway.engineering.coap_import_read import DeviceContent, unasked
from twin_gateway.engineering.draft import DeviceDraft, PlaceDraft
from twin_gateway.engineering.live_import import Target, free_name, name_of
from twin_gateway.engineering.proposal_rules import Known, NotProposedError, Row, home_of
from twin_gateway.mapping.model import MappedDevice

_TYPE: Final = re.compile(r"\brt=(.+?)(?: (?:if|ct)=.*)?$")


def endpoint(stray: Mapping[str, Any], names: set[str], _like: MappedDevice) -> DeviceDraft:
    """A section for an endpoint with what its links say. NotProposedError when that is nothing a point can be of."""
    fields = stray["fields"]
    said = str(fields["endpoint"])
    name = free_name(name_of("", said.rpartition(":")[2] or said), names)
    links = [WebLink(str(link["target"]), {k: v for k, v in link.items() if k != "target"}) for link in fields["links"]]
    made = _draft(Target(name, said, {"endpoint": said}), links, lwm2m=bool(fields["lwm2m"]))
    if made is None:
        hint = "give it a section with 'endpoint:' and points of what it offers"
        raise NotProposedError("its links do not say what a point could be made of", hint)
    return made


def resource(known: Known, stray: Mapping[str, Any]) -> Row:
    """A line for a resource of a known device."""
    fields, words = stray["fields"], _TYPE.search(stray["about"])
    link = WebLink(str(fields["path"]), {"rt": words[1]} if words is not None else {})
    if fields.get("observe", True):
        link.parameters["obs"] = ""
    made = _draft(Target("device", "device", {}), [link], lwm2m=False)
    if made is None:
        hint = "'twin-gateway import coap FILE --mode merge' asks for its value and says more"
        raise NotProposedError("its link alone does not say what it is", hint)
    return Row(home_of(known.device), _places(made)[0].points[0])


def _draft(target: Target, links: Sequence[WebLink], *, lwm2m: bool) -> DeviceDraft | None:
    offered = [one for link in links for one in unasked(link, lwm2m=lwm2m)]
    content = DeviceContent(len(links), offered, endpoint=str(target.fields.get("endpoint", "")), asked=False)
    draft, _ = draft_sensors([(target, content)], grid="g", place="a/s", at=f"_/_/{target.name}", every=True)
    return draft.devices[0] if draft.devices and _places(draft.devices[0]) else None


def _places(device: DeviceDraft) -> list[PlaceDraft]:
    return [place for place in device.at if place.points]
