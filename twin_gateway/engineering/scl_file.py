"""The parts of an SCL file that an import needs, found and checked: IEDs, logical devices, types, addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from twin_gateway.drivers.iec61850.scl_xml import Element, Fault, SclFormatError, read_tree
from twin_gateway.engineering.scl_parts import Ied, Server, ln_name
from twin_gateway.engineering.scl_types import TypeCheck
from twin_gateway.mapping.problem import Problem, did_you_mean
from twin_gateway.mapping.read import MAX_PROBLEMS

_CODES: Final = {
    Fault.UNREADABLE: "TG101",
    Fault.FORMAT: "TG731",
    Fault.ENTITY: "TG733",
    Fault.LIMIT: "TG734",
}
_IED_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")
_LD_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}\Z")
_LN_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,32}\Z")


@dataclass(slots=True)
class Endpoint:
    """Where an access point is reached. Port 0 for the usual one; `kind` is the SubNetwork's type."""

    host: str
    port: int
    kind: str
    line: int


@dataclass(slots=True)
class SclFile:
    """One file, its problems, and an index of what is in it."""

    path: Path
    root: Element
    problems: list[Problem] = field(default_factory=list)
    ieds: dict[str, Ied] = field(default_factory=dict)
    types: dict[tuple[str, str], Element] = field(default_factory=dict)
    endpoints: dict[tuple[str, str], list[Endpoint]] = field(default_factory=dict)

    def report(self, at: Element, code: str, message: str, hint: str = "") -> None:
        """Note an error."""
        self._add(Problem(str(self.path), at.line, at.column, code, message, hint))

    def warn(self, at: Element, code: str, message: str, hint: str = "") -> None:
        """Note something that was left out or taken otherwise."""
        self._add(Problem(str(self.path), at.line, at.column, code, message, hint, "warning"))

    def _add(self, problem: Problem) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        elif len(self.problems) == MAX_PROBLEMS:
            what = "so many problems that the rest is left out"
            self.problems.append(Problem(str(self.path), 1, 1, "TG112", what, severity=problem.severity))

    @property
    def failed(self) -> bool:
        """Whether there is an error."""
        return any(problem.severity == "error" for problem in self.problems)


def problem_of(path: Path, error: SclFormatError) -> Problem:
    """Why a file cannot be read, as a problem."""
    return Problem(str(path), error.line, error.column, _CODES[error.fault], error.what, error.hint)


def read_scl_file(path: Path) -> SclFile:
    """Read a file and look for what does not hold together.

    Raises:
        SclFormatError: it cannot be read at all.
    """
    file = SclFile(path, read_tree(path))
    version = file.root.get("version")
    if version and version < "2007" and version not in ("1.0", "2003"):
        file.warn(file.root, "TG731", f"SCL of version '{version}' is read like that of edition 1")
    for templates in file.root.all("DataTypeTemplates"):
        for element in templates.all("LNodeType", "DOType", "DAType", "EnumType"):
            key = (element.name, element.attributes.get("id", ""))
            if key in file.types:
                first = file.types[key].line
                file.warn(element, "TG732", f"a second {key[0]} '{key[1]}'; the first is in line {first}")
            file.types[key] = element
    _ieds(file)
    _endpoints(file)
    TypeCheck(file.types, file).run(file.ieds.values())
    return file


def _ieds(file: SclFile) -> None:
    for element in file.root.all("IED"):
        name = element.get("name")
        if not _IED_NAME.match(name):
            hint = "letters, digits and _ only, a letter first, at most 64"
            file.report(element, "TG732", f"'{name}' cannot be the name of an IED", hint)
            continue
        if name in file.ieds:
            first = file.ieds[name].element.line
            file.report(element, "TG732", f"a second IED '{name}'", f"the first is in line {first}: rename one")
            continue
        file.ieds[name] = ied = Ied(name, element)
        _servers(file, ied)
    if not file.ieds and not file.failed:
        file.report(
            file.root,
            "TG732",
            "no IED in the file",
            "an SSD says what is where but not who tells it: import the SCD",
        )


def _servers(file: SclFile, ied: Ied) -> None:
    seen: dict[str, int] = {}
    for point in ied.element.all("AccessPoint"):
        element = point.first("Server")
        if element is not None:
            server = Server(point.get("name"), element)
            ied.servers.append(server)
            for device in element.all("LDevice"):
                inst = device.get("inst")
                if not _LD_NAME.match(inst):
                    file.report(
                        device,
                        "TG732",
                        f"'{inst}' cannot be the name of a logical device",
                        "letters, digits and _",
                    )
                elif inst in seen:
                    file.report(
                        device,
                        "TG732",
                        f"a second logical device '{inst}' in {ied.name}",
                        f"the first is in line {seen[inst]}",
                    )
                else:
                    seen[inst] = device.line
                    server.devices[inst] = device
                    _nodes(file, device)
    by_point = {server.access_point: server for server in ied.servers}
    for point in ied.element.all("AccessPoint"):
        shared = point.first("ServerAt")
        if shared is not None:
            at = by_point.get(shared.get("apName"))
            if at is None:
                file.warn(
                    shared,
                    "TG732",
                    f"no access point '{shared.get('apName')}' with a server in {ied.name}",
                    did_you_mean(shared.get("apName"), by_point),
                )
            else:
                at.also.append(point.get("name"))


def _nodes(file: SclFile, device: Element) -> None:
    seen: dict[str, int] = {}
    for node in device.all("LN0", "LN"):
        name = ln_name(node)
        if not _LN_NAME.match(name):
            file.report(
                node,
                "TG732",
                f"'{name}' cannot be the name of a logical node",
                "prefix, class and inst of letters and digits",
            )
        elif name in seen:
            file.report(
                node,
                "TG732",
                f"a second logical node {name} in {device.get('inst')}",
                f"the first is in line {seen[name]}: give it another inst",
            )
        seen.setdefault(name, node.line)


def _endpoints(file: SclFile) -> None:
    for communication in file.root.all("Communication"):
        for network in communication.all("SubNetwork"):
            for point in network.all("ConnectedAP"):
                ied = file.ieds.get(point.get("iedName"))
                known = [] if ied is None else [item.get("name") for item in ied.element.all("AccessPoint")]
                if point.get("apName") not in known:
                    what = (
                        f"an address of '{point.get('iedName')}', access point '{point.get('apName')}': not in the file"
                    )
                    file.warn(
                        point, "TG732", what, did_you_mean(point.get("iedName"), file.ieds) if ied is None else ""
                    )
                    continue
                _endpoint(file, network, point)


def _endpoint(file: SclFile, network: Element, point: Element) -> None:
    texts: dict[str, str] = {}
    for address in point.all("Address"):
        texts |= {item.get("type").upper(): item.text for item in address.all("P") if item.text}
    host = texts.get("IP") or texts.get("IPV6") or ""
    if not host:
        return
    text = next((texts[key] for key in ("MMS-PORT", "TCP-PORT", "IP-PORT") if key in texts), "")
    port = int(text) if text.isdecimal() and len(text) < 6 and 0 < int(text) < 65_536 else 0
    if text and not port:
        file.warn(point, "TG732", f"'{text}' is no port number: the usual port is taken")
    key = (point.get("iedName"), point.get("apName"))
    file.endpoints.setdefault(key, []).append(Endpoint(host, port, network.get("type"), point.line))
