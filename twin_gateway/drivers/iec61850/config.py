"""What mapping files may say of an IEC 61850 device and its points, and how references become aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from twin_gateway.drivers.contract import DeviceConfig, FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.drivers.device_files import LARGEST, ROOM
from twin_gateway.drivers.tls import TlsConfig
from twin_gateway.durations import Seconds

PORT, TLS_PORT = 102, 3782
REFERENCE = r"[A-Za-z0-9_]{1,64}/[A-Za-z0-9_]{1,32}(\.[A-Za-z0-9_]{1,64}(\(\d{1,4}\))?){1,12}(\[[A-Z]{2}\])?"
"""`LD0/XCBR1.Pos`: a data object, a sub-object or a single attribute, with its constraint where that is ambiguous;
elements of arrays as in `LD0/MHAI1.HA.phsAHar(3).mag.f`."""
MODELS = ("direct-normal", "sbo-normal", "direct-enhanced", "sbo-enhanced")
"""Control models as mappings call them; number 1 to 4 of ctlModel, in this order."""
FROM_DEVICE = "device"
"""Control model of a mapping that leaves the choice to the device."""
_ALIAS = re.compile(rf"[^/]{{1,255}}/({REFERENCE})")


class Iec61850Config(DeviceConfig):
    """Device section of `protocol: iec61850`. Times are seconds.

    Attributes:
        host, port: of the MMS server; 102, with TLS 3782 unless said.
        scl: SCL file that the live model is compared with.
        ied: name of the IED in it; also what logical devices may be called without.
        tls: certificates; None connects in the clear.
        reports: use report control blocks; otherwise everything is polled.
        data_sets: have the device make data sets for points that none of its own has; they are deleted at the end.
        integrity: how often a block sends everything.
        poll: how often is read what no report block delivers.
        reserve: how long a buffered block stays ours after a lost association.
        connect_timeout: how long the transport connection and the association may take.
        timeout: how long an answer may take.
        idle: silence after which the device is asked for a sign of life.
        largest_file: octets of a file that is fetched from the device, at most.
        file_room: octets of all files that are kept of it, at most.
    """

    host: str = Field(min_length=1, max_length=253)
    port: int | None = Field(default=None, ge=1, le=65_535)
    scl: str | None = None
    ied: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")
    tls: TlsConfig | None = None
    reports: bool = True
    data_sets: bool = True
    integrity: Seconds = 60.0
    poll: Seconds = 10.0
    reserve: Annotated[float, Field(ge=1, le=32_767)] = 60.0
    connect_timeout: Seconds = 5.0
    timeout: Seconds = 4.0
    idle: Seconds = 3.0
    largest_file: Annotated[int, Field(ge=1)] = LARGEST
    file_room: Annotated[int, Field(ge=1)] = ROOM

    @property
    def endpoint_port(self) -> int:
        """The port, default resolved."""
        return self.port or (PORT if self.tls is None else TLS_PORT)


def reference_of(config: Any, fields: Mapping[str, Any]) -> str:
    """The reference of a point without the name of the IED before the logical device."""
    reference = str(fields["ref"])
    ied = getattr(config, "ied", None)
    device, _, rest = reference.partition("/")
    return f"{device.removeprefix(ied)}/{rest}" if ied and device != ied else reference


def source_of(config: Any, fields: Mapping[str, Any]) -> str:
    """Source of a point: `IED/LD0/XCBR1.Pos`, with the host where no IED is named."""
    if config is None:
        return str(fields["ref"])
    port = "" if config.endpoint_port in {PORT, TLS_PORT} else f":{config.endpoint_port}"
    return f"{config.ied or config.host + port}/{reference_of(config, fields)}"


def _alias(_link: str, _config: Any, source: int | str) -> str:
    return str(source)


def _unalias(value: str) -> tuple[str | None, str] | None:
    return (None, value) if _ALIAS.fullmatch(value) else None


def _command_source(config: Any, fields: Mapping[str, Any], _control: Mapping[str, Any]) -> str:
    return source_of(config, fields)


def _check_device(config: Any) -> Sequence[tuple[str, str]]:
    if config.idle + config.timeout > 9:
        return [("idle", "idle and timeout together must stay under 9 s, or a silent device is noticed too late")]
    return ()


SPEC = ProtocolSpec(
    name="iec61850",
    scheme="61850",
    config=Iec61850Config,
    point_fields=(
        FieldSpec("ref", FieldKind.TEXT, required=True, pattern=REFERENCE, help="data object, as in LD0/XCBR1.Pos"),
    ),
    control_fields=(
        FieldSpec("timeout", FieldKind.DURATION, help="how long the switch may travel before it reports the end"),
        FieldSpec(
            "feedback",
            FieldKind.BOOL,
            help="normal security: wait until the status shows the new state (the default), or trust the answer",
        ),
    ),
    control_models=(*MODELS, FROM_DEVICE),
    driver="twin_gateway.drivers.iec61850.driver:Iec61850Driver",
    source=source_of,
    alias=_alias,
    unalias=_unalias,
    command_source=_command_source,
    check_device=_check_device,
    counters={
        "TmoCnt": ("timeouts",),
        "ErrCnt": ("report_errors", "value_errors", "poll_errors"),
        "RptCnt": ("reports",),
        "RptLosCnt": ("report_losses", "buffer_losses"),
        "GIFailCnt": ("interrogations_refused",),
        "MdlDifCnt": ("model_differences",),
    },
)
"""The protocol as mapping files and the gateway see it."""
