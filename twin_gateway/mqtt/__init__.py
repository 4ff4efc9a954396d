"""The MQTT mirror of the point table: values, metadata, states and events under `<root>/<class>/<address>`."""

from twin_gateway.mqtt.counters import MirrorCounters
from twin_gateway.mqtt.mirror import Mirror
from twin_gateway.mqtt.settings import Mode, MqttSettings, Protocol, TlsSettings

__all__ = ["Mirror", "MirrorCounters", "Mode", "MqttSettings", "Protocol", "TlsSettings"]
