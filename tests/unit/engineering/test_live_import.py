"""What imports from live devices decide without any device: places, names, settings, lists."""

import json
import socket

import pytest
import typer

from address_space.address import parse
from address_space.catalogue import classify
from twin_gateway import import_cli
from twin_gateway.drivers.coap.client import Response
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.linkformat import WebLink
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.discovery import MeterObject
from twin_gateway.engineering import coap_import_places, coap_import_read, dlms_import_places
from twin_gateway.engineering.coap_import import endpoints_of
from twin_gateway.engineering.coap_import_read import DeviceContent
from twin_gateway.engineering.dlms_import import draft_meters
from twin_gateway.engineering.dlms_import_read import MeterContent
from twin_gateway.engineering.draft import FileDraft
from twin_gateway.engineering.emit import emit
from twin_gateway.engineering.live_import import LiveImportError, Target, place_of
from twin_gateway.engineering.live_import_file import Written, listed, settle
from twin_gateway.engineering.live_import_targets import gather_targets, host_of, rebased, settings_of
from twin_gateway.engineering.mode import Mode
from twin_gateway.engineering.opcua_import import make_list, merged, text_of
from twin_gateway.engineering.opcua_import_space import ForeignSpace, ForeignVariable
from twin_gateway.live_import_cli import finish, opcua


def meter_object(code: str, class_id: int = obis.REGISTER) -> MeterObject:
    return MeterObject(class_id, 0, obis.parse(code))


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("1-0:1.8.0", "MMTR1/DmdWh"),
        ("1-1:2.8.0", "MMTR1/SupWh"),
        ("1-2:2.8.0", "MMTR2/SupWh"),
        ("1-0:3.8.12", "Tar12MMTR1/DmdVArh"),
        ("1-0:16.7.0", "MMXU1/TotW"),
        ("1-0:2.7.0", "ExpMMXU1/TotW"),
        ("1-0:51.7.0", "MMXU1/A/phsB"),
        ("1-0:72.7.0", "MMXU1/PhV/phsC"),
        ("1-0:91.7.0", "MMXU1/A/neut"),
        ("1-0:41.7.0", "ImpMMXU1/W/phsB"),
        ("1-0:1.6.2", "MaxImpTar2MMXU1/TotW"),
        ("1-0:16.5.0", "LastMMXU1/TotW"),
        ("1-0:1.8.0.1", ""),  # a billing value
        ("7-0:3.0.0", ""),  # gas
        ("1-0:1.7.1", ""),
        ("1-0:100.7.0", ""),
    ],
)
def test_obis_codes_have_the_places_of_their_quantity(code, key):
    assert dlms_import_places.place_of(meter_object(code)) == key


def test_every_place_is_in_the_catalogue():
    codes = (f"1-0:{c}.{d}.{e}" for c in range(256) for d in range(4, 9) for e in (0, 1, 63))
    keys = {dlms_import_places.place_of(meter_object(code)) for code in codes} - {""}
    keys |= {place.key.replace("{n}", "1") for places in coap_import_places.OBJECTS.values() for place in places}
    assert len(keys) > 300
    for key in sorted(keys):
        classify(parse(f"g/a/s/_/_/M1/{key}"))


def test_generic_places_differ_for_all_codes_of_a_meter():
    codes = [
        "0-0:96.7.21",
        "0-1:96.7.21",
        "1-0:96.7.21",
        "0-0:96.72.1",
        "0-0:9.67.21",
        "0-0:96.7.21.1",
        "0-1:96.7.21.1",
    ]
    places = {dlms_import_places.generic_place(meter_object(code), "AnIn1") for code in codes}
    assert len(places) == len(codes)
    assert dlms_import_places.generic_place(meter_object("0-0:96.7.21"), "IntIn1") == "O96_7_21GGIO0/IntIn1"


def test_what_two_resources_would_share_gets_a_prefix_from_their_names():
    assert coap_import_places.keys_for("STMP1/Tmp", "/senml", "temp")[:2] == ["STMP1/Tmp", "tempSTMP1/Tmp"]
    assert coap_import_places.keys_for("STMP1/Tmp", "/tank/oil", "")[:2] == ["oilSTMP1/Tmp", "tankoilSTMP1/Tmp"]


@pytest.mark.parametrize(
    ("words", "key"),
    [("temperature-c", "STMP1/Tmp"), ("core.s oic.r.humidity", "MMET1/EnvHum"), ("tempest", ""), ("", "")],
)
def test_whole_words_of_a_resource_type_say_what_is_measured(words, key):
    assert coap_import_places.place_by_words(words)[0] == key


def test_settings_are_sections_and_keep_leading_zeros():
    said = ["hdlc.physical_device=17", "oscore.sender_id=01", 'system_title="5457470102030405"', "lists=false"]
    assert settings_of(said) == {
        "hdlc": {"physical_device": 17},
        "oscore": {"sender_id": "01"},
        "system_title": "5457470102030405",
        "lists": False,
    }
    with pytest.raises(LiveImportError) as refused:
        settings_of(["swordfish"])
    assert "swordfish" not in str(refused.value) + refused.value.hint
    with pytest.raises(LiveImportError, match="both a value and a section"):
        settings_of(["keys=1", "keys.encryption=2"])


@pytest.mark.parametrize("text", ["", "a:b", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:4059:1", "a b", "fe80::1"])
def test_what_is_no_host_and_port_is_refused(text):
    with pytest.raises(LiveImportError, match="is no host and port"):
        host_of(text)


def test_hosts_may_be_ipv6():
    assert host_of("[2001:db8::7]:4061") == ("2001:db8::7", 4061)


def test_names_in_braces_become_one_level():
    assert place_of("north/SP{serial}", {"serial": "4/17"}) == "north/SP4~2F17"
    with pytest.raises(LiveImportError, match=r"has no \{serial\}"):
        place_of("north/SP{serial}", {"serial": "", "name": "m"})


def test_devices_may_be_named_out_of_several_mapping_files(tmp_path):
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file in files:
        sections = "".join(f"  {file.stem}{i}: {{protocol: dlms, host: 10.0.0.{i}}}\n" for i in (1, 2))
        file.write_text(f"mapping: 1\ngrid: g\nplace: a/s\ndevices:\n{sections}")
    said = [str(file) for file in files]
    asked = gather_targets(said, "dlms", [], only=["a1", "b2"])
    assert [target.name for target in asked.targets] == ["a1", "b2"]
    with pytest.raises(LiveImportError, match=r"b\.yaml: no dlms device b3"):
        gather_targets(said, "dlms", [], only=["a1", "b3"])


def test_meters_that_say_one_name_of_themselves_are_refused_by_it():
    meters = [(Target(host, host, {"host": host}), MeterContent(serial="417")) for host in ("10.0.0.1", "10.0.0.2")]
    with pytest.raises(LiveImportError, match="two devices are called meter-417"):
        draft_meters(meters, grid="g", place="a/s", at="_/_/{name}", name="meter-{serial}")


def test_endpoints_whose_names_are_one_as_a_level_get_a_number():
    contents = [DeviceContent(base=f"coap://10.0.0.{i}", endpoint=name) for i, name in enumerate(("a:n", "a.n", "b"))]
    targets = endpoints_of(Target("rd", "rd", {}), contents, {"b"}, registered=False)
    assert [target.name for target in targets] == ["a-n", "a-n-2", "b-2"]


def test_files_that_a_section_names_are_named_from_the_new_folder(tmp_path):
    fields = {"tls": {"ca": "pki/ca.pem", "key": "k.pem"}, "psk": {"key": "file:psk"}, "host": "10.0.0.1"}
    moved = rebased(fields, tmp_path / "old", tmp_path / "new" / "deeper")
    assert moved == {
        "tls": {"ca": "../../old/pki/ca.pem", "key": "../../old/k.pem"},
        "psk": {"key": "file:../../old/psk"},
        "host": "10.0.0.1",
    }


def test_devices_with_the_same_of_it_share_one_list_which_ends():
    rows = listed([("a", ["x"]), ("b", ["x"]), ("c", [])])
    assert rows == ["", "Without a point, a, b:", "- x"]
    assert listed([("a", [str(i) for i in range(500)])])[-1] == "- and 302 more"


def variable(identifier: str, *path: str, **more: object) -> ForeignVariable:
    return ForeignVariable(f"ns=2;s={identifier}", identifier, "urn:x", path or (identifier,), identifier, **more)


def test_places_of_one_name_are_told_apart_by_what_stands_above():
    space = ForeignSpace([variable(f"{bay}{i}", bay, "LD0", "MMXU1", "TotW") for i, bay in enumerate(("B1", "B2"))])
    assert [row["address"] for row in make_list(space).rows] == ["_/B1/LD0/MMXU1/TotW", "_/B2/LD0/MMXU1/TotW"]


def test_places_that_their_lowest_names_do_not_tell_apart_get_lines_without_an_address():
    space = ForeignSpace([variable(f"{plant}.v", plant, "Bay", "E1", "Q1", "MMXU1", "TotW") for plant in ("A", "B")])
    found = make_list(space)
    assert [(row["address"], row["browse_path"][0]) for row in found.rows] == [("", "A"), ("", "B")]
    assert found.folded == 0


def test_attributes_of_an_address_and_system_points_get_no_line():
    address = "g/a/s/_/_/_/MMXU1/TotW"
    space = ForeignSpace([variable(address), variable(f"{address}#q"), variable("g/_sys/gw/_/_/l/LCCH1/ChLiv")])
    found = make_list(space)
    assert [row["address"] for row in found.rows] == [address]
    assert found.folded == 2


def test_cells_that_a_spreadsheet_would_compute_have_an_apostrophe():
    row = make_list(ForeignSpace([variable("=1+1", "x")])).rows[0]
    assert "'=1+1" in text_of([row])


def test_a_list_of_other_columns_is_not_merged_into(tmp_path):
    found = make_list(ForeignSpace([variable("v")]))
    file = tmp_path / "list.csv"
    file.write_text("a;b\n1;2\n")
    with pytest.raises(LiveImportError, match="no list of this import"):
        merged(file, found)
    file.write_text("node_id;b\n1;2\n")
    with pytest.raises(LiveImportError, match="its columns are others"):
        merged(file, found)


def test_a_merged_list_keeps_its_line_ends_and_the_mark_of_a_spreadsheet(tmp_path):
    file = tmp_path / "list.csv"
    file.write_bytes(
        b"\xef\xbb\xbf" + text_of(make_list(ForeignSpace([variable("v")])).rows).encode().replace(b"\n", b"\r\n")
    )
    both = make_list(ForeignSpace([variable("v"), variable("w")]))
    text, fresh, gone = merged(file, both)
    assert text.encode().startswith(file.read_bytes())
    assert (fresh, gone, text.count("\r\n"), text.count("\n")) == (1, 0, 3, 3)


def test_lines_that_people_have_put_in_are_no_nodes_that_are_gone(tmp_path):
    found = make_list(ForeignSpace([variable("v")]))
    file = tmp_path / "list.csv"
    file.write_text(text_of(found.rows) + ";" * 15 + "\n")
    assert merged(file, found)[1:] == (0, 0)


def test_logs_rights_and_profiles_of_a_meter():
    readable = dict.fromkeys(range(1, 9), 1)
    objects = [
        MeterObject(obis.PROFILE, 1, obis.parse("0-0:99.98.0"), readable),
        MeterObject(obis.PROFILE, 1, obis.parse("1-0:99.1.0"), readable),
        MeterObject(obis.PROFILE, 1, obis.parse("1-0:99.2.0"), readable),
        MeterObject(obis.REGISTER, 0, obis.parse("1-0:1.8.0"), readable),
        MeterObject(obis.REGISTER, 0, obis.parse("1-0:2.8.0"), {2: 0}),
        MeterObject(obis.DEMAND_REGISTER, 0, obis.parse("1-0:1.4.0"), readable),
        MeterObject(obis.DISCONNECT, 0, obis.parse("0-0:96.3.10"), readable, {1: 0, 2: 0}),
        MeterObject(71, 0, obis.parse("0-0:17.0.0"), readable),
    ]
    energy = obis.Attribute(obis.REGISTER, obis.parse("1-0:1.8.0"))
    content = MeterContent(
        objects,
        {(3, obis.parse("1-0:1.8.0")): (3, 30), (5, obis.parse("1-0:1.4.0")): (0, 27)},
        {obis.parse("1-0:99.1.0"): [energy], obis.parse("1-0:99.2.0"): [energy]},
        {obis.parse("1-0:99.1.0"): 86_400, obis.parse("1-0:99.2.0"): 900},
    )
    target = Target("m", "m", {"host": "10.0.0.1"}, config=DlmsConfig(host="10.0.0.1"))
    draft, (part,) = draft_meters([(target, content)], grid="g", place="a/s", at="_/_/{name}")
    text = emit(draft)
    assert "logs: [0-0:99.98.0]" in text
    assert "{obis: 1-0:1.8.0, profile: 1-0:99.2.0}  # 1000 Wh" in text
    assert "Profile 1-0:99.1.0 every 1 d: 1 columns. Profile 1-0:99.2.0 every 15 min: 1 columns." in text
    assert "AvImpMMXU1/TotW: {obis: 1-0:1.4.0}  # W" in text
    assert "{obis: 0-0:96.3.10}  # this client may not operate it" in text
    assert "control" not in text
    assert "1-0:2.8.0 class 3: register, this client may not read it" in part.unplaced
    assert "0-0:17.0.0 class 71: limiter" in part.unplaced


def test_what_a_device_says_otherwise_since_the_last_import_is_told_from_what_people_wrote(tmp_path):
    file = tmp_path / "m.yaml"
    codes = ("1-0:1.8.0", "1-0:2.8.0", "1-0:16.7.0")

    def imported(host: str, profile: str, mode: Mode) -> Written:
        periods = {obis.parse(profile): 900}
        columns = {obis.parse(profile): [obis.Attribute(obis.REGISTER, obis.parse(code)) for code in codes[:2]]}
        readable = dict.fromkeys(range(1, 9), 1)
        objects = [MeterObject(obis.REGISTER, 0, obis.parse(code), readable) for code in codes]
        objects.append(MeterObject(obis.PROFILE, 1, obis.parse(profile), readable))
        units = {(obis.REGISTER, obis.parse(code)): (0, 27 if code == codes[2] else 30) for code in codes}
        content = MeterContent(objects, units, columns, periods)
        target = Target("m", "m", {"host": host}, config=DlmsConfig(host=host))
        draft, _ = draft_meters([(target, content)], grid="g", place="a/s", at="_/_/M1")
        return settle(draft, file, mode, templates=True)

    first = imported("10.0.0.1", "1-0:99.1.0", Mode.CREATE)
    finish(first, [], [], as_json=True)
    assert (tmp_path / ".import" / "m.yaml.json").is_file()
    lines = file.read_text().splitlines(keepends=True)
    ours = [line.replace("99.1.0", "99.3.0") if "1-0:2.8.0" in line else line for line in lines]
    file.write_text("".join(line for line in ours if "1-0:16.7.0" not in line))
    second = imported("10.0.0.2", "1-0:99.2.0", Mode.MERGE)
    assert second.text is not None
    assert second.changed == ["g/a/s/_/_/M1/MMTR1/DmdWh", "m"]
    assert "host: 10.0.0.2" in second.text
    assert "{obis: 1-0:1.8.0, profile: 1-0:99.2.0}" in second.text, "nobody has touched that line"
    assert "{obis: 1-0:2.8.0, profile: 1-0:99.3.0}" in second.text, "what people wrote stays"
    assert "1-0:16.7.0" not in second.text, "what people took out stays out"
    assert [problem.code for problem in second.problems] == ["TG736"] * 2


def test_a_file_that_was_made_while_devices_were_asked_is_left_alone(tmp_path):
    file = tmp_path / "m.yaml"
    file.write_text("# mine\n")
    with pytest.raises(LiveImportError, match=r"m\.yaml is there already"):
        settle(FileDraft("g", "a/s"), file, Mode.CREATE, templates=True)


def test_a_file_that_cannot_be_written_is_told_with_its_reason(tmp_path):
    written = Written(tmp_path / "gone" / "m.yaml", text="mapping: 1\n")
    with pytest.raises(LiveImportError, match=r"m\.yaml cannot be written: No such file"):
        finish(written, [], [], as_json=True)


async def test_a_coap_device_that_takes_too_long_as_a_whole_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(coap_import_read, "_MOST_SECONDS", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        config = CoapConfig(uri=f"coap://127.0.0.1:{silent.getsockname()[1]}", timeout=30.0)
        target = Target("s", "s", {}, config=config)
        with pytest.raises(LiveImportError, match=r"^s: not read within 0\.2 s$"):
            await coap_import_read.read_device(target, tmp_path, print)


async def test_what_a_resource_has_beyond_what_is_taken_is_told():
    body = json.dumps({f"v{i}": i for i in range(250)}).encode()

    class Answering:
        async def get(self, _path: str) -> Response:
            return Response(205, body, 50, None, 0.0, 0.0, observed=False)

    found = await coap_import_read._behind(Answering(), WebLink("/state", {}))
    assert len(found) == 201
    assert found[-1].remark == "has more than 200 values, of which the others are left out"


def test_a_password_in_the_url_of_a_server_is_refused_and_not_repeated(capsys):
    with pytest.raises(typer.Exit):
        opcua("opc.tcp://reader:swordfish@127.0.0.1:1/x")
    said = capsys.readouterr()
    assert "--user" in said.err
    assert "swordfish" not in said.out + said.err


def test_a_new_file_of_a_list_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        import_cli._write("mapping: 1\n\ud800", tmp_path / "m.yaml", quiet=True)
    assert list(tmp_path.iterdir()) == []
