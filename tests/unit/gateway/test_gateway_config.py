"""gateway.yaml: what is read, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_gateway.config import MAX_CONFIG_SIZE, ConfigError, load_config, write_template

LEAST = "gateway: gw1\ngrid: dso1\nauthority: https://example.org\nmappings: [m]\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "gateway.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_template_is_a_configuration(tmp_path: Path) -> None:
    made = write_template(tmp_path / "new")
    assert [path.name for path in made] == ["gateway.yaml", "mappings"]
    config = load_config(made[0])
    assert (config.gateway, config.opcua.port, config.opcua.anonymous, config.mqtt) == ("gw1", 4840, "none", None)


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, "mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_template(tmp_path)
    assert path.read_text() == "mine"


def test_the_commented_mqtt_section_of_the_template_is_right(tmp_path: Path) -> None:
    path = write_template(tmp_path)[0]
    lines = path.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("# mqtt:"))
    shown = [line.removeprefix("# ") if start <= number < start + 6 else line for number, line in enumerate(lines)]
    path.write_text("\n".join(shown))
    mqtt = load_config(path).mqtt
    assert mqtt is not None
    assert (mqtt.broker_port, mqtt.user, mqtt.password) == (1883, "gateway", "${MQTT_PASSWORD}")


@pytest.mark.parametrize(
    ("text", "watch"),
    [
        ("", "check"),
        ("watch: apply\n", "apply"),
        ("watch: true\n", "apply"),
        ("watch: off\n", "off"),
        ("watch: no\n", "off"),
    ],
)
def test_what_becomes_of_edited_mapping_files_can_be_said_with_yes_and_no(
    tmp_path: Path, text: str, watch: str
) -> None:
    assert load_config(written(tmp_path, LEAST + text)).watch == watch


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, LEAST + "users: /etc/users.yaml\n"))
    assert config.mappings == (tmp_path / "m",)
    assert config.data_directory == tmp_path / "data"
    assert config.users == Path("/etc/users.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LEAST + "opcua: {prot: 4841}\n", "opcua.prot: Extra inputs"),
        (LEAST + "opcua: {port: 70000}\n", "opcua.port: Input should be less than or equal to 65535"),
        (LEAST + "opcua: {anonymous: yes please}\n", "opcua.anonymous: Input should be 'none' or 'observe'"),
        (LEAST + "http: {host: 0.0.0.0}\n", "http.host: 0.0.0.0 is not loopback"),
        (LEAST + "http: {host: example.org}\n", "http.host: example.org is not loopback"),
        (LEAST + "mqtt: {password: secret}\n", "mqtt.password: a secret may not stand in the file"),
        (LEAST + "mqtt: {root: a/+/b}\n", "mqtt.root: not a topic"),
        (LEAST + "log: {level: LOUD}\n", "log.level: Input should be"),
        (LEAST + "commands: {max_age: 0}\n", "commands.max_age: Input should be greater than 0"),
        (LEAST.replace("gw1", "a/b"), "gateway: "),
        (LEAST.replace("dso1", "_"), "grid: "),
        (LEAST.replace("https://example.org", "example"), "authority: String should match"),
        (LEAST.replace("[m]", "[]"), "mappings: Tuple should have at least 1 item"),
        ("gateway: gw1\n", "grid: Field required"),
        ("", "a mapping of settings is expected"),
        ("- 1\n", "a mapping of settings is expected"),
        ("gateway: [\n", ":2:1: "),
        (b"gateway: \xff\n", "gateway.yaml: "),
    ],
)
def test_a_mistake_is_said_with_its_place(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    with pytest.raises(ConfigError) as said:
        load_config(written(tmp_path, text))
    assert sentence in str(said.value)
    assert "gateway.yaml" in str(said.value)
    assert "pydantic" not in str(said.value)


def test_every_mistake_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as said:
        load_config(written(tmp_path, LEAST + "opcua: {port: -1}\nlog: {format: xml}\n"))
    assert len(str(said.value).splitlines()) == 2


def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as said:
        load_config(written(tmp_path, LEAST + "mqtt: {password: hunter2hunter2}\n"))
    assert "hunter2" not in str(said.value)


def test_a_missing_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="twin-gateway init"):
        load_config(tmp_path / "gateway.yaml")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load_config(written(tmp_path, b"#" * (MAX_CONFIG_SIZE + 1)))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path)
