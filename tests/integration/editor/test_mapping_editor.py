"""Mapping files in an editor: what the language server of editors makes of the schema beside them."""

from __future__ import annotations

from pathlib import Path

from peers.editor.language_server import LanguageServer

MAPPINGS = Path(__file__).parents[3] / "mappings"
WITH_SCHEMA = [
    path
    for folder in ("demo", "templates")
    for path in sorted((MAPPINGS / folder).glob("*.yaml"))
    if "mapping.schema.json" in path.read_text("utf-8")
]
STATION = """\
# yaml-language-server: $schema=../mapping.schema.json
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu1:
    protocol: iec104
    host: 10.4.7.10
    common_address: 7
    <cursor>
    at:
      MV1/F05:
        points:
          MMXU1/TotW:
            type: M_ME_TF_1
            <cursor>
          MMXU1/TotVAr:
            ioa: 1002
            type: <cursor>
          MMXU1/Hz: {ioa: 1003, type: M_ME_TF_1, obis: 1-0:14.7.0}
          MMXU1/TotPF: {ioa: 1004, type: M_ME_FT_1}
          MMXU1/TotVA: {ioa: 1005}
          QA1/CSWI1/Pos: {ioa: 1006, type: M_DP_TB_1, control: {ioa: 5006, absent: [Lok]}}
  m1:
    protocol: dlms
    host: 10.9.3.2
    security: hls-gmca
    at:
      LV1/_/M1:
        points:
          MMTR1/DmdWh: {ioa: 1}
""".replace("<cursor>", "")
LINES = STATION.splitlines()


def line_of(text: str) -> int:
    """Number of the first line that holds a text, from 0."""
    return next(number for number, line in enumerate(LINES) if text in line)


async def test_an_editor_completes_explains_and_diagnoses_mapping_files() -> None:
    station = MAPPINGS / "demo" / "as-typed.yaml"
    async with LanguageServer() as server:
        for path in WITH_SCHEMA:
            assert await server.open(path) == [], path.name

        found = {
            (item["range"]["start"]["line"], item["message"].partition(" Valid")[0])
            for item in await server.open(station, STATION)
        }
        assert found == {
            (line_of("obis: 1-0:14.7.0"), "Property obis is not allowed."),
            (line_of("M_ME_FT_1"), "Value is not accepted."),
            (line_of("MMXU1/TotW:"), 'Missing property "ioa".'),
            (line_of("MMXU1/TotVA:"), 'Missing property "type".'),
            (line_of("absent: [Lok]"), "Value is not accepted."),
            (line_of("hls-gmca"), "Value is not accepted."),
            (line_of("MMTR1/DmdWh"), 'Missing property "obis".'),
            (line_of("MMTR1/DmdWh"), "Property ioa is not allowed."),
        }

        after_type = line_of("type: M_ME_TF_1") + 1
        fields = await server.complete(station, after_type, 12)
        assert {"ioa", "common_address", "unit", "scale", "deadband", "control", "alarm"} <= fields
        assert fields.isdisjoint({"obis", "ref", "path"})
        device = await server.complete(station, line_of("common_address: 7") + 1, 4)
        assert {"originator", "gi_interval", "k", "w", "port"} <= device
        assert device.isdisjoint({"security", "scl", "uri"})
        types = await server.complete(station, after_type + 3, 18)
        assert {"M_ME_TF_1", "M_SP_TB_1"} <= types

        assert "information object address" in await server.hover(station, line_of("ioa: 1002"), 13)
        assert "one station of the link or several" in await server.hover(station, line_of("common_address: 7"), 6)
        assert "field protocol of the device" in await server.hover(station, line_of("protocol: iec104"), 6)
