"""The gateway's own configuration file `gateway.yaml`: reading it, and writing a commented one to start from."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from address_space.address import AddressError, check_name
from twin_gateway.drivers.coap.directory_settings import DirectorySettings
from twin_gateway.history.settings import HistorySettings
from twin_gateway.mqtt.settings import MqttSettings

Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
MAX_CONFIG_SIZE = 1 << 20


def _read_twin(given: object) -> object:
    """The section of the twin functions; imported only where there is one: it needs much."""
    from twin_gateway.functions.section import TwinSection

    return TwinSection.model_validate(given)


if TYPE_CHECKING:
    from twin_gateway.functions.section import TwinSection as _Twin
else:
    _Twin = Annotated[Any, BeforeValidator(_read_twin)]


class ConfigError(ValueError):
    """The configuration cannot be used; the message says where and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpcUaSection(_Section):
    """The OPC UA endpoint.

    Attributes:
        host, port: where to listen.
        host_names: names and addresses by which clients know this machine, for the certificate that is made.
        application_uri: ApplicationUri of the server; empty for one made from the name of this machine.
        anonymous: `none`, or `observe`: clients on this machine may look without a user.
        security: message security modes offered to the network; `Sign` alone does not hide what is sent.
        security_none: offer policy None to the network too; on loopback it is always offered.
        policies: security policies offered, the preferred one first.
        trust_any_client: let in clients whose certificates nobody has trusted; on loopback only.
        key_bits: size of the key that is made at the first start.
    """

    host: str = "127.0.0.1"
    port: Port = 4840
    host_names: tuple[str, ...] = ()
    application_uri: str = Field(default="", pattern=r"^([a-z][a-z0-9+.-]*:[!-~]+)?$", max_length=1024)
    anonymous: Literal["none", "observe"] = "none"
    security: tuple[Literal["Sign", "SignAndEncrypt"], ...] = Field(default=("SignAndEncrypt",), min_length=1)
    security_none: bool = False
    policies: tuple[Literal["Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256"], ...] = Field(
        default=("Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256"), min_length=1
    )
    trust_any_client: bool = False
    key_bits: Literal[2048, 3072, 4096] = 2048

    @property
    def loopback(self) -> bool:
        """Whether only clients on this machine can connect."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _trusting(self) -> OpcUaSection:
        if self.trust_any_client and not self.loopback:
            raise ValueError(f"trust_any_client is for loopback only, not for {self.host}; see `twin-gateway trust`")
        return self

    def modes(self) -> tuple[str, ...]:
        """The security modes to offer, None among them where it may be."""
        return (*self.security, "None") if self.loopback or self.security_none else self.security


class HttpSection(_Section):
    """Where `/healthz` and `/metrics` are served; loopback only."""

    host: str = "127.0.0.1"
    port: Port = 8480

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        try:
            local = host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            local = False
        if not local:
            raise ValueError(f"{host} is not loopback; health and metrics have no login, put a proxy in front of them")
        return host


class LinkSection(_Section):
    """How often a link that is down is tried, seconds: doubled from `retry_first` to `retry_most`, with jitter.

    Attributes:
        connects_per_second: attempts of all links together, so that an outage of the network does not end in a storm.
    """

    retry_first: Seconds = 1.0
    retry_most: Seconds = 30.0
    connects_per_second: float = Field(default=100.0, gt=0, le=10_000)

    @model_validator(mode="after")
    def _ordered(self) -> LinkSection:
        if self.retry_first > self.retry_most:
            raise ValueError("retry_first must not be longer than retry_most")
        return self


class CommandSection(_Section):
    """Times of the command desk, seconds; see `twin_gateway.commands.desk.DeskSettings`."""

    max_age: Seconds = 2.0
    device_timeout: Seconds = 10.0
    feedback_timeout: Seconds = 10.0
    selection_time: Seconds = 30.0
    min_interval: Annotated[float, Field(ge=0, le=3600)] = 0.5


class LogSection(_Section):
    """What is logged and how: `text` for people, `json` for machines."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"


class GatewayConfig(_Section):
    """Everything of `gateway.yaml`. Relative paths are relative to the file.

    Attributes:
        gateway: name of this gateway, a segment of its own addresses `<grid>/_sys/<gateway>/…`.
        grid: level 1 of the addresses of this gateway's own points.
        authority: URI of the grid authority, namespace of all NodeIds.
        data_directory: certificates, audit journal, counters.
        mappings: mapping files and folders.
        watch: what becomes of mapping files that are edited while the gateway works: `apply` (or true) changes it to
            them when they are valid; `check` only raises an alarm when they are not; `off` (or false) does not look.
        watch_interval: seconds from look to look.
        users: the user file.
        mqtt: the mirror; absent means none.
        twin: the twin functions; absent means none.
        history: what is kept of samples and events, and for how long.
        coap_directory: where CoAP and LwM2M devices register; absent means nowhere.
    """

    gateway: str
    grid: str
    authority: str = Field(pattern=r"^[a-z][a-z0-9+.-]*:\S+$", max_length=255)
    data_directory: Path = Path("data")
    mappings: tuple[Path, ...] = Field(min_length=1)
    watch: Literal["apply", "check", "off"] = "check"
    watch_interval: Annotated[float, Field(ge=0.1, le=3600)] = 2.0
    users: Path = Path("users.yaml")
    opcua: OpcUaSection = OpcUaSection()
    mqtt: MqttSettings | None = None
    http: HttpSection | None = HttpSection()
    links: LinkSection = LinkSection()
    commands: CommandSection = CommandSection()
    twin: _Twin | None = None
    history: HistorySettings = HistorySettings()
    coap_directory: DirectorySettings | None = None
    log: LogSection = LogSection()

    @property
    def results(self) -> Path:
        """Folder of what unchanged mapping files of a large mapping come to."""
        return self.data_directory / "resolved"

    @field_validator("watch", mode="before")
    @classmethod
    def _watch(cls, given: object) -> object:
        return {True: "apply", False: "off"}[given] if isinstance(given, bool) else given  # YAML reads `off` as false

    @field_validator("gateway", "grid")
    @classmethod
    def _segment(cls, name: str) -> str:
        try:
            check_name(name, "name")
        except AddressError as error:
            raise ValueError(str(error)) from error
        return name


def load_config(path: Path) -> GatewayConfig:
    """Read and check a configuration file.

    Raises:
        ConfigError: with the file, the place and what is wrong.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_SIZE:
            raise ConfigError(f"{path} is larger than {MAX_CONFIG_SIZE >> 20} MiB: this is no configuration file")
        data = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {path}; `twin-gateway init` writes one to start from") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
        raise ConfigError(f"{where}: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping of settings is expected; `twin-gateway init` writes one to start from")
    try:
        return _resolve(GatewayConfig.model_validate(data), path.parent)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(_sentence(path, problem) for problem in error.errors(include_input=False))
        ) from error


def _sentence(path: Path, problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    return f"{path}: {where}: {problem['msg'].removeprefix('Value error, ')}"


def _resolve(config: GatewayConfig, folder: Path) -> GatewayConfig:
    return config.model_copy(
        update={
            "data_directory": folder / config.data_directory,
            "mappings": tuple(folder / path for path in config.mappings),
            "users": folder / config.users,
            "twin": config.twin.below(folder) if config.twin is not None else None,
            "history": config.history.below(folder),
        }
    )


TEMPLATE = """\
# Configuration of one gateway. Relative paths are relative to this file.
gateway: gw1                         # name of this gateway in its own addresses: <grid>/_sys/gw1/...
grid: dso1                           # level 1 of those addresses
authority: https://example.org       # URI of the grid authority: the namespace of all OPC UA NodeIds

data_directory: data                 # certificates, audit journal, counters; keep it when you update
mappings: [mappings]                 # mapping files and folders; check them with `twin-gateway check mappings`
watch: check                         # an alarm when edited mapping files have errors; apply: valid ones count at once
users: users.yaml                    # made with `twin-gateway user add NAME --role Operator`; there is no default user

opcua:
  host: 127.0.0.1                    # 0.0.0.0 serves the network, then signed and encrypted only
  port: 4840
  anonymous: none                    # `observe` lets clients on this machine look without a user
  # Signed and encrypted connections need a client that is trusted: `twin-gateway trust list`, `trust add`.
  trust_any_client: false            # true on loopback only, to try things out

# mqtt:                              # remove the # to mirror every point to a broker
#   host: 127.0.0.1
#   port: 1883                       # 8883 with tls
#   user: gateway
#   password: ${MQTT_PASSWORD}       # secrets only by reference
#   modes: [points]                  # or [grouped], or both

http:                                # /healthz and /metrics (Prometheus), on this machine only
  port: 8480

links:
  retry_most: 30                     # seconds, the longest wait before a device that is away is tried again

commands:
  feedback_timeout: 10               # seconds within which the position must follow a confirmed command

history:
  retention_days: 31                 # days of samples and events that are kept, the newest
  max_size_mb: 10240                 # MiB on the disk; the oldest days go first
#   exclude: ["*/_sys/*"]            # address patterns that are not kept

# coap_directory:                    # remove the # to let CoAP and LwM2M devices register at this gateway
#   port: 5683

# twin:                              # remove the # for the twin functions
#   place: dso1/north                # area that their results stand for
#   grid: [grid.yaml]                # the grid model, YAML or CIM RDF/XML; `twin-gateway grid check` checks it
#   flisr:
#     mode: advise                   # off, monitor, advise or confirm-step for every feeder

log:
  level: INFO                        # DEBUG, INFO, WARNING, ERROR
  format: text                       # json for log collectors
"""


def write_template(folder: Path) -> list[Path]:
    """Write a commented `gateway.yaml` and an empty `mappings` folder.

    Returns:
        What was made.

    Raises:
        ConfigError: when there is a `gateway.yaml` already.
    """
    path = folder / "gateway.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already; it is left as it is") from error
    mappings = folder / "mappings"
    mappings.mkdir(exist_ok=True)
    return [path, mappings]
