"""Settings of the mirror and its secrets."""

import pytest
from pydantic import ValidationError

from twin_gateway.mqtt.settings import Mode, MqttSettings, SecretError, TlsSettings


def test_the_port_follows_tls_unless_given():
    assert MqttSettings().broker_port == 1883
    assert MqttSettings(tls=TlsSettings()).broker_port == 8883
    assert MqttSettings(port=2000, tls=TlsSettings()).broker_port == 2000


def test_modes_are_read_from_a_list():
    settings = MqttSettings.model_validate({"modes": ["points", "grouped"]})
    assert settings.modes == {Mode.POINTS, Mode.GROUPED}


def test_a_password_in_the_file_is_refused_without_repeating_it():
    with pytest.raises(ValidationError) as caught:
        MqttSettings(password="hunter2")
    (problem,) = caught.value.errors(include_input=False, include_url=False)
    assert "may not stand in the file" in problem["msg"]
    assert "hunter2" not in str(problem)


def test_the_password_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MQTT_TEST_SECRET", "s3cret")
    settings = MqttSettings(password="${MQTT_TEST_SECRET}")
    assert settings.read_password() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_the_password_comes_from_a_file_without_its_line_end(tmp_path):
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    assert MqttSettings(password=f"file:{path}").read_password() == "s3cret"


@pytest.mark.parametrize("reference", ["${MQTT_NOT_SET_ANYWHERE}", "file:/nonexistent/secret"])
def test_a_missing_secret_is_told(reference):
    with pytest.raises(SecretError, match=r"not set|cannot read"):
        MqttSettings(password=reference).read_password()


@pytest.mark.parametrize("root", ["", "/twin", "twin/", "a//b", "a/+", "a/#", "$SYS"])
def test_a_root_that_is_no_topic_is_refused(root):
    with pytest.raises(ValidationError):
        MqttSettings(root=root)


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError):
        MqttSettings.model_validate({"hots": "x"})
