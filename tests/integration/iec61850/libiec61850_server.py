"""An IED of an SCL file on libiec61850 (pyiec61850-ng): shares no code with the driver. Run as a process of its own.

    python libiec61850_server.py FILE.cid PORT

Prints "ready"; each line of stdin is JSON: {"ref": "LD0/MMXU1.TotW.mag.f", "kind": "float", "value": 1.5}, a list of
such for one change, or {"refuse": "CSWI3.Pos", "cause": 10}. It ends with os._exit because the wrapper crashes at
interpreter exit.
"""

import json
import os
import sys
import tempfile
import xml.etree.ElementTree as ET

import pyiec61850.pyiec61850 as c

TYPES = {
    "BOOLEAN": 0, "INT8": 1, "INT16": 2, "INT32": 3, "INT64": 4, "INT8U": 6, "INT16U": 7, "INT32U": 9, "FLOAT32": 10,
    "FLOAT64": 11, "Enum": 12, "Octet64": 13, "ObjRef": 19, "VisString255": 20, "Unicode255": 21, "Timestamp": 22,
    "Quality": 23, "Check": 24, "Dbpos": 25, "Tcmd": 25, "Struct": 27,
}  # fmt: skip
CONSTRAINTS = ["ST", "MX", "SP", "SV", "CF", "DC", "SG", "SE", "SR", "OR", "BL", "EX", "CO"]


def local(element):
    return element.tag.rsplit("}", 1)[-1]


class Configuration:
    """Writes the text form of a model that libiec61850 reads."""

    def __init__(self, path):
        self.root = ET.parse(path).getroot()
        self.types = {
            (local(t), t.get("id")): t for part in self.root if local(part) == "DataTypeTemplates" for t in part
        }
        self.enums = {
            i: {(v.text or "").strip(): v.get("ord") for v in t} for (k, i), t in self.types.items() if k == "EnumType"
        }
        self.lines = []

    def children(self, element, name):
        return [child for child in element if local(child) == name]

    def attribute(self, element, constraint, triggers, values):
        kind = element.get("bType")
        line = f"DA({element.get('name')} 0 {TYPES[kind]} {constraint} {triggers} 0)"
        found = values.get(element.get("name"))
        if kind == "Struct":
            self.lines.append(line + "{")
            inner = found if isinstance(found, dict) else {}
            for bda in self.children(self.types["DAType", element.get("type")], "BDA"):
                self.attribute(bda, constraint, triggers, inner)
            self.lines.append("}")
            return
        own = self.children(element, "Val")
        text = found if isinstance(found, str) else (own[0].text if own else None)
        if text is not None:
            if kind == "Enum":
                line += f"={self.enums[element.get('type')].get(text, '0')}"
            elif kind == "BOOLEAN":
                line += f"={int(text == 'true')}"
            elif kind.startswith("Vis"):
                line += f'="{text}"'
            elif kind.startswith(("INT", "FLOAT")):
                line += f"={text}"
        self.lines.append(line + ";")

    def data_object(self, name, kind, values):
        self.lines.append(f"DO({name} 0){{")
        for child in self.types["DOType", kind]:
            if local(child) == "SDO":
                inner = values.get(child.get("name"))
                self.data_object(child.get("name"), child.get("type"), inner if isinstance(inner, dict) else {})
            elif local(child) == "DA":
                triggers = sum(b for b, n in ((1, "dchg"), (2, "qchg"), (4, "dupd")) if child.get(n) == "true")
                self.attribute(child, CONSTRAINTS.index(child.get("fc")), triggers, values)
        self.lines.append("}")

    def values(self, element):
        found = {}
        for child in element:
            if local(child) in ("DOI", "SDI"):
                found[child.get("name")] = self.values(child)
            elif local(child) == "DAI":
                text = self.children(child, "Val")
                if text:
                    found[child.get("name")] = text[0].text
        return found

    def write(self):
        ied = self.children(self.root, "IED")[0]
        self.lines.append(f"MODEL({ied.get('name')}){{")
        for device in ied.iter():
            if local(device) != "LDevice":
                continue
            self.lines.append(f"LD({device.get('inst')}){{")
            for node in device:
                if local(node) in ("LN0", "LN"):
                    self.node(node)
            self.lines.append("}")
        self.lines.append("}")
        return "\n".join(self.lines) + "\n"

    def node(self, node):
        name = "LLN0" if local(node) == "LN0" else f"{node.get('prefix', '')}{node.get('lnClass')}{node.get('inst')}"
        self.lines.append(f"LN({name}){{")
        values = self.values(node)
        for do in self.children(self.types["LNodeType", node.get("lnType")], "DO"):
            self.data_object(do.get("name"), do.get("type"), values.get(do.get("name"), {}))
        for ds in self.children(node, "DataSet"):
            self.lines.append(f"DS({ds.get('name')}){{")
            for f in self.children(ds, "FCDA"):
                ln = f"{f.get('prefix', '')}{f.get('lnClass')}{f.get('lnInst', '')}"
                tail = [p for p in (f.get("doName", "") + "." + f.get("daName", "")).split(".") if p]
                self.lines.append(f"DE({ln}${f.get('fc')}${'$'.join(tail)});")
            self.lines.append("}")
        for rc in self.children(node, "ReportControl"):
            count = int(self.children(rc, "RptEnabled")[0].get("max"))
            for index in range(1, count + 1):
                name, buffered = f"{rc.get('name')}{index:02d}", int(rc.get("buffered") == "true")
                fields = (
                    name, rc.get("rptID") or "-", buffered, rc.get("datSet"), rc.get("confRev"),
                    1 | 2 | 8 | 16, 1 | 2 | 4 | 8 | 32 | 64 | 128, rc.get("bufTime"), rc.get("intgPd"),
                )  # fmt: skip
                self.lines.append(f"RC({' '.join(map(str, fields))});")
        self.lines.append("}")


class Peer:
    """The server and what its switches do."""

    def __init__(self, path, port):
        with tempfile.NamedTemporaryFile("w", suffix=".cfg", delete=False) as file:
            file.write(Configuration(path).write())
        self.model = c.ConfigFileParser_createModelFromConfigFileEx(file.name)
        os.unlink(file.name)
        self.name = c.IedModel_getModelNodeByObjectReference  # bound late, see `attribute`
        self.ied = ET.parse(path).getroot().find("{*}IED").get("name")
        self.server = c.IedServer_create(self.model)
        c.IedServer_setLocalIpAddress(self.server, "127.0.0.1")
        self.refused = {}
        self.kept = []
        for control, shown in (("CSWI1", "XCBR1"), ("CSWI2", "XSWI1"), ("CSWI3", "XSWI2"), ("GGIO1", None)):
            self.control(control, shown)
        c.IedServer_start(self.server, port)
        if not c.IedServer_isRunning(self.server):
            print("not running", flush=True)
            os._exit(1)

    def reference(self, text):
        return text if text.startswith(self.ied) else self.ied + text

    def attribute(self, text):
        node = c.IedModel_getModelNodeByObjectReference(self.model, self.reference(text))
        if not node:
            raise KeyError(text)
        return c.toDataAttribute(node)

    def put(self, change):
        node, kind, value = self.attribute(change["ref"]), change["kind"], change["value"]
        if kind == "float":
            c.IedServer_updateFloatAttributeValue(self.server, node, value)
        elif kind == "bool":
            c.IedServer_updateBooleanAttributeValue(self.server, node, value)
        elif kind == "int":
            c.IedServer_updateInt32AttributeValue(self.server, node, value)
        elif kind == "int64":
            c.IedServer_updateInt64AttributeValue(self.server, node, value)
        elif kind == "dbpos":
            c.IedServer_updateDbposValue(self.server, node, value)
        elif kind == "quality":
            c.IedServer_updateQuality(self.server, node, value)
        elif kind == "time":
            c.IedServer_updateUTCTimeAttributeValue(self.server, node, value)
        else:
            raise ValueError(kind)

    def control(self, control, shown):
        do = "Pos" if shown else "SPCSO1"
        peer = self

        class Check(c.CheckHandlerForPython):
            def trigger(self):
                cause = peer.refused.get(f"{control}.{do}")
                if cause is not None:
                    c.ControlAction_setAddCause(self._libiec61850_control_action, cause)
                    self._libiec61850_check_handler_result = c.CONTROL_OBJECT_ACCESS_DENIED
                else:
                    self._libiec61850_check_handler_result = c.CONTROL_ACCEPTED

        class Operate(c.ControlHandlerForPython):
            def trigger(self):
                if self._libiec61850_test:
                    self._libiec61850_control_handler_result = c.CONTROL_RESULT_OK
                    return
                on = c.MmsValue_getBoolean(self._libiec61850_mms_value)
                if shown:
                    for node in (control, shown):
                        peer.put({"ref": f"LD0/{node}.Pos.stVal", "kind": "dbpos", "value": 2 if on else 1})
                else:
                    peer.put({"ref": "LD0/GGIO1.SPCSO1.stVal", "kind": "bool", "value": on})
                self._libiec61850_control_handler_result = c.CONTROL_RESULT_OK

        subscriber, check, operate = c.ControlSubscriberForPython(), Check(), Operate()
        subscriber.setIedServer(self.server)
        node = c.IedModel_getModelNodeByObjectReference(self.model, self.reference(f"LD0/{control}.{do}"))
        subscriber.setControlObject(c.toDataObject(node))
        subscriber.setCheckHandler(check)
        subscriber.setControlHandler(operate)
        subscriber.subscribe()
        self.kept += [subscriber, check, operate]


def main():
    peer = Peer(sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            order = json.loads(line)
            if isinstance(order, dict) and "refuse" in order:
                peer.refused[order["refuse"]] = order["cause"]
            else:
                c.IedServer_lockDataModel(peer.server)
                for change in order if isinstance(order, list) else [order]:
                    peer.put(change)
                c.IedServer_unlockDataModel(peer.server)
            print("ok", flush=True)
        except Exception as error:
            print(f"error {type(error).__name__}: {error}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
