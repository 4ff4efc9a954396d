"""Which IEC 61850 reference, which address and which IEC 60870-5-104 object (by IEC 61850-80-1) mean the same datum."""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from twin_gateway.drivers.iec104.config import common_address_of
from twin_gateway.drivers.iec104.types import BY_NAME
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.point import MappedPoint

COLUMNS: Final = (
    "address",
    "cdc",
    "ied",
    "reference",
    "device",
    "casdu",
    "ioa",
    "ti",
    "control_casdu",
    "control_ioa",
    "control_ti",
    "device_104",
)
"""casdu, ioa and ti as IEC 61850-80-1 calls common address, object address and type identification."""


def export_scl_mapping(mapping: Mapping, *, separator: str = ";") -> str:
    """One line an address of a 61850 or 104 point, sorted by address; an address with both has both in one line.

    Of several bindings of one protocol the best is taken.
    """
    rows: dict[str, dict[str, Any]] = {}
    for device, point in sorted(mapping.points(), key=lambda item: (item[1].address, item[1].rank)):
        row = rows.setdefault(point.address, {"address": point.address, "cdc": point.profile.cdc})
        if device.protocol == "iec61850" and "reference" not in row:
            _reference(row, device, point)
        elif device.protocol == "iec104" and ("casdu" not in row):
            _object(row, device, point)
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in rows.values() if "device" in row or "device_104" in row)
    return out.getvalue()


def _reference(row: dict[str, Any], device: MappedDevice, point: MappedPoint) -> None:
    row["ied"] = getattr(device.config, "ied", None) or ""
    row["reference"], row["device"] = point.fields["ref"], device.name


def _object(row: dict[str, Any], device: MappedDevice, point: MappedPoint) -> None:
    fields, control = point.fields, point.control
    row["casdu"] = common_address_of(device.config, fields)
    row["ioa"], row["ti"], row["device_104"] = fields["ioa"], BY_NAME[fields["type"]].number, device.name
    if control is not None:
        given = control.get("common_address", fields.get("common_address"))
        row["control_casdu"] = common_address_of(device.config, {"common_address": given})
        row["control_ioa"], row["control_ti"] = control["ioa"], BY_NAME[control["type"]].number
