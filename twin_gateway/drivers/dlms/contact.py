"""What the parts of the driver share while an association stands."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from twin_gateway.drivers.contract import Link
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.errors import INVOCATION_COUNTER_ERROR, DlmsError, SecurityError, ServiceError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.session import Session

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Site:
    """A device and its link, whether it answers or only sends.

    Attributes:
        name: of the device.
        zone: time zone of meter times without deviation, and of the times sent.
    """

    name: str
    config: DlmsConfig
    link: Link
    zone: tzinfo


@dataclass(slots=True)
class Contact(Site):
    """A meter that answers.

    Attributes:
        clock_error: seconds that the meter's clock is ahead; None while unknown.
    """

    session: Session
    clock_error: float | None = None

    @property
    def meter_now(self) -> datetime:
        """The present moment by the meter's clock."""
        return datetime.now(UTC) + timedelta(seconds=self.clock_error or 0.0)

    async def get(self, attribute: Attribute, selection: bytes = b"") -> Value:
        """Value of one attribute; raises what Association.get and Session.do raise."""
        return await self.session.do(self.session.association.get(attribute, selection))

    async def get_many(self, attributes: list[Attribute]) -> list[Value | DlmsError]:
        """Values or refusals of several attributes; raises what Association.get_many and Session.do raise."""
        return await self.session.do(self.session.association.get_many(attributes))

    def failed(self, error: DlmsError) -> None:
        """Counts an error that costs one reading; raises what ends the association."""
        if isinstance(error, ServiceError) and error.service_error == INVOCATION_COUNTER_ERROR:
            raise error
        self.link.count("security_errors" if isinstance(error, SecurityError) else "apdu_errors")
        _log.debug("meter %s: %s", self.name, error)
