"""Settings of the MQTT mirror: the `mqtt` section of the gateway's configuration file."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}\Z")
_FILE = "file:"
_MAX_SECRET = 64 * 1024

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SecretError(ValueError):
    """The password cannot be read; the text never contains the secret itself."""


class Mode(StrEnum):
    """How live values are published; both may be on together."""

    POINTS = "points"
    """One retained `v` topic a point."""
    GROUPED = "grouped"
    """One retained `g` topic a place, with every point of the place."""


class Protocol(StrEnum):
    """MQTT version to speak."""

    AUTO = "auto"
    """5, and 3.1.1 with brokers that refuse it."""
    V5 = "5"
    V311 = "3.1.1"


class TlsSettings(BaseModel):
    """TLS to the broker. The broker's certificate and host name are always checked.

    Attributes:
        ca: file with the trusted certificates (PEM); the system's own when absent.
        certificate, key: the client certificate with its key (PEM), where the broker asks for one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class MqttSettings(BaseModel):
    """Where the broker is, what is published, and how much may wait for it. Durations are seconds.

    Attributes:
        host, port: the broker; the port is 1883, with `tls` 8883, unless given.
        tls: see `TlsSettings`; absent means plain TCP.
        user: name at the broker.
        password: a reference, `${NAME}` of an environment variable or `file:PATH`; read anew for every connection.
        client_id: made of the gateway's address when absent; two clients with one id throw each other out.
        protocol: see `Protocol`.
        root: first level or levels of every topic.
        modes: see `Mode`; empty leaves metadata, states and events only.
        group_level: place level that makes a group: 3 substation, 4 voltage level, 5 bay, 6 equipment.
        keepalive: longest silence on the connection, whole seconds.
        connect_timeout: for TCP, TLS and the broker's answer, each.
        ack_timeout: a connection on which nothing is acknowledged for so long is given up.
        reconnect_min, reconnect_max: back-off between attempts.
        refused_delay: between attempts when the broker refuses the credentials.
        window: messages that may be unacknowledged at a time.
        interval: changes are gathered this long before they are published.
        republish_rate: messages a second of state that is published again, so that live changes come first.
        refresh: all state is published again so often, for brokers that forget without a word.
        late_window: late samples of measured and counted values are told together, one event per link with their number
            and their first and last time, so many seconds after the first of them; 0: each by itself, with its value.
        max_events, max_late: event messages and late samples kept for the broker; beyond that the oldest go, counted.
        max_event_bytes: payload bytes of either kept for the broker.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int | None = Field(default=None, ge=1, le=65_535)
    tls: TlsSettings | None = None
    user: str | None = None
    password: str | None = Field(default=None, repr=False)
    client_id: str | None = Field(default=None, min_length=1, max_length=128)
    protocol: Protocol = Protocol.AUTO
    root: str = "twin"
    modes: frozenset[Mode] = frozenset({Mode.POINTS})
    group_level: int = Field(default=5, ge=1, le=6)
    keepalive: int = Field(default=15, ge=1, le=65_535)
    connect_timeout: Seconds = 5.0
    ack_timeout: Seconds = 20.0
    reconnect_min: Seconds = 0.5
    reconnect_max: Seconds = 30.0
    refused_delay: Seconds = 30.0
    window: int = Field(default=20, ge=2, le=1000)
    interval: Annotated[float, Field(gt=0, le=10)] = 0.02
    republish_rate: int = Field(default=5000, ge=1)
    refresh: Seconds = 3600.0
    late_window: Annotated[float, Field(ge=0, le=3600)] = 0.0
    max_events: int = Field(default=10_000, ge=1)
    max_late: int = Field(default=50_000, ge=1)
    max_event_bytes: int = Field(default=32 << 20, ge=1 << 16)

    @field_validator("root")
    @classmethod
    def _root_is_a_topic(cls, root: str) -> str:
        if not root or root.startswith(("/", "$")) or root.endswith("/") or re.search(r"[+#\x00-\x1f\x7f]|//", root):
            raise ValueError("not a topic: levels joined by '/', without '+', '#', and not beginning with '$'")
        return root

    @field_validator("password")
    @classmethod
    def _password_is_a_reference(cls, password: str | None) -> str | None:
        if password is not None and not _VARIABLE.match(password) and not password.startswith(_FILE):
            # The value itself must not appear in the message.
            raise ValueError("a secret may not stand in the file: write ${NAME} for a variable, or file:PATH")
        return password

    @property
    def broker_port(self) -> int:
        """The port to connect to."""
        return self.port or (8883 if self.tls is not None else 1883)

    def read_password(self) -> str | None:
        """The password behind the reference.

        Raises:
            SecretError: the variable is not set, or the file cannot be read.
        """
        if self.password is None:
            return None
        variable = _VARIABLE.match(self.password)
        if variable is not None:
            value = os.environ.get(variable[1])
            if not value:
                raise SecretError(f"the environment variable {variable[1]} is not set")
            return value
        path = Path(self.password.removeprefix(_FILE))
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_SECRET)
            return content.decode("utf-8").rstrip("\r\n")
        except OSError as error:
            raise SecretError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SecretError(f"{path} is not UTF-8") from None
