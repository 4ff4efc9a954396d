"""What a person may ask of a 61850 device beside points and commands: files, setting groups, logs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from address_space import clock
from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceFile, DeviceLine, DeviceTable, Link, ModelDifference
from twin_gateway.drivers.device_files import FileRefused, FileStore

from . import files, logs, setting_groups
from .association import Association
from .discovery import object_name
from .errors import MmsConnectionError, MmsError, MmsReject, MmsTimeout, ModelError, ServiceError
from .model import Model

_FILE, _ACCESS, _UNSUPPORTED = 11, 7, 1
_FILE_ERRORS = {
    1: "the name is ambiguous",
    2: "the file is busy",
    3: "the device does not accept the name",
    4: "the device does not deliver such a file",
    5: "the device does not go on from the middle of the file",
    6: "the device does not allow access to the file",
    7: "there is no such file",
}
NO_ASSOCIATION = Outcome(
    StatusCode.BadNoCommunication, AddCause.ABORTION_BY_COMMUNICATION_LOSS, "link", "no association with the device"
)


class DeviceServices:
    """The services on one association.

    Args:
        association, model: of the device.
        link: where files are kept and progress is told.
        store: limits of what is kept.
    """

    def __init__(self, association: Association, model: Model, link: Link, store: FileStore) -> None:
        self._association = association
        self._model = model
        self._link = link
        self._store = store
        self._fetching = asyncio.Lock()

    async def list_files(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        """Files of the device below a folder."""
        try:
            found, cut = await files.directory(self._association, path)
        except (MmsError, FileRefused) as error:
            return self._refusal(error, files.DIRECTORY, "files"), ()
        text = f"{len(found)} files" + (f", only the first {files.MAX_FILES} are listed" if cut else "")
        return Outcome(StatusCode.Good, text=text, sent=True), found

    async def fetch_file(self, name: str) -> Outcome:
        """Bring one file; one at a time."""
        if self._fetching.locked():
            text = "another file of this device is being fetched"
            return Outcome(StatusCode.BadInvalidState, AddCause.NONE, "link", text)
        async with self._fetching:
            try:
                place, received = await files.fetch(self._association, self._link, name, self._store)
            except (MmsError, FileRefused) as error:
                return self._refusal(error, files.OPEN, "files")
            except OSError as error:
                self._link.count("store_errors")
                return Outcome(StatusCode.Bad, AddCause.NONE, "gateway", f"the file cannot be kept: {error}", sent=True)
        self._link.count("files_fetched")
        return Outcome(StatusCode.Good, text=f"{place}: {received} octets received", sent=True)

    async def read_table(self, table: DeviceTable, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        """Setting groups, the settings of the active group of `about`, the logs, or the log `about`."""
        try:
            match table:
                case DeviceTable.SETTING_GROUPS:
                    return await self._setting_groups()
                case DeviceTable.SETTINGS:
                    return await self._settings(about)
                case DeviceTable.LOGS:
                    return await self._logs()
                case DeviceTable.LOG:
                    return await self._log(about)
        except ModelError as error:
            return Outcome(StatusCode.BadInvalidArgument, AddCause.NONE, "link", str(error)), ()
        except MmsError as error:
            return self._refusal(error, logs.READ_JOURNAL, str(table)), ()
        return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "link", f"there is no {table}"), ()

    async def _setting_groups(self) -> tuple[Outcome, Sequence[DeviceLine]]:
        if not setting_groups.control_blocks(self._model):
            return _not_offered("setting groups"), ()
        lines = await setting_groups.setting_groups(self._association, self._model)
        return Outcome(StatusCode.Good, sent=True), lines

    async def _settings(self, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        offering = setting_groups.control_blocks(self._model)
        if not offering:
            return _not_offered("setting groups"), ()
        domain = self._model.domain(about) if about or len(offering) != 1 else next(iter(offering))
        lines, cut = await setting_groups.settings(self._association, self._model, domain)
        text = f"active group of {domain}: {len(lines)} settings" + (", the list is cut" if cut else "")
        return Outcome(StatusCode.Good, text=text, sent=True), lines

    async def _logs(self) -> tuple[Outcome, Sequence[DeviceLine]]:
        found = await logs.logs(self._association, list(self._model.nodes))
        if not found:
            return _not_offered("logs"), ()
        return Outcome(StatusCode.Good, sent=True), [DeviceLine(name, "") for name in found]

    async def _log(self, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        name, _, moment = about.partition(" ")
        domain, _, item = name.partition("/")
        if not item:
            raise ModelError(f"{about!r} is no log like LD0/LLN0$EventLog, with a time behind it if need be")
        try:
            since = clock.from_iso(moment.strip()) if moment.strip() else None
        except ValueError as error:
            raise ModelError(f"{moment!r} is no time like 2026-01-02T03:04:05Z") from error
        log = object_name(f"{self._model.domain(domain)}/{item}")
        lines, cut = await logs.log(self._association, log, since)
        text = f"the first {logs.MAX_ENTRIES} entries, there are more" if cut else ""
        return Outcome(StatusCode.Good, text=text, sent=True), lines

    def _refusal(self, error: Exception, service: int, what: str) -> Outcome:
        """Why a service did not answer, as an outcome."""
        if isinstance(error, FileRefused):
            return Outcome(StatusCode.BadInvalidArgument, AddCause.NONE, "link", str(error), sent=True)
        if isinstance(error, MmsTimeout):
            return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", str(error), sent=True)
        if isinstance(error, MmsConnectionError):
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, cause, "link", str(error), sent=True)
        if isinstance(error, ServiceError) and error.error_class == _FILE:
            text = _FILE_ERRORS.get(error.code, str(error))
            return Outcome(StatusCode.BadNoMatch if error.code == 7 else StatusCode.Bad, text=text, sent=True)
        unsupported = isinstance(error, ServiceError) and (error.error_class, error.code) == (_ACCESS, _UNSUPPORTED)
        if isinstance(error, MmsReject) or unsupported or not self._association.agreement.supports(service):
            return _not_offered(what)
        return Outcome(StatusCode.Bad, AddCause.UNKNOWN, "device", str(error), sent=True)


class ServedDevice:
    """The part of a driver that passes what people ask on to the services of its association.

    Attributes:
        services: of the association that stands; None without one.
        differences: what the last comparison with the SCL file found.
    """

    def __init__(self) -> None:
        self.services: DeviceServices | None = None
        self.differences: Sequence[ModelDifference] = ()

    async def list_files(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        """Files of the device below a folder, empty for all."""
        return (NO_ASSOCIATION, ()) if self.services is None else await self.services.list_files(path)

    async def fetch_file(self, name: str) -> Outcome:
        """Bring a file to `<data_directory>/files/<link>/`; the text says where."""
        return NO_ASSOCIATION if self.services is None else await self.services.fetch_file(name)

    async def read_table(self, table: DeviceTable, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        """Setting groups, settings, logs."""
        return (NO_ASSOCIATION, ()) if self.services is None else await self.services.read_table(table, about)


def _not_offered(what: str) -> Outcome:
    return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "device", f"the device does not offer {what}")
