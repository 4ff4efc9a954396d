"""What the gateway says of itself as conditions: broker, twin functions, disk (G02), certificates (D09)."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from address_space import clock
from twin_gateway.alarms.entry import CERTIFICATE_EXPIRES
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.certificate_files import expiry
from twin_gateway.system_points import part_place
from twin_gateway.twin.supervision.certificates import EXPIRED_SEVERITY, WARN_SEVERITY, certificate_stage

LOOK_S = 1.0
DISK_S = 60.0
CERTIFICATES_S = 3600.0
BROKER_DELAY_S = 5.0
DISK_LOW, DISK_FULL = 500 << 20, 50 << 20
"""Free octets below which the gateway complains, and below which nothing durable may soon work any more."""


class OwnConditions:
    """Looks after the gateway once a second, after its files less often.

    Args:
        alarms: where conditions go.
        place: of the gateway; its parts are conditions at `<place>/_/_/<part>`.
        folder: data directory; certificates are those of its `pki`.
        broker: why there is no MQTT broker; empty when it is there, None when none is wanted.
        failed: twin functions that do not run, by name -> why.
        wall: the present, s since 1970.
    """

    def __init__(
        self,
        alarms: Alarms,
        place: str,
        folder: Path,
        *,
        broker: Callable[[], str | None] = lambda: None,
        failed: Callable[[], Mapping[str, str]] = dict,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._alarms = alarms
        self._place = place
        self._folder = folder
        self._broker, self._failed = broker, failed
        self._wall = wall

    async def run(self) -> None:
        """Look again and again; never returns."""
        disk = certificates = float("-inf")
        while True:
            now = time.monotonic()
            self.look()
            if now - disk >= DISK_S:
                disk = now
                await self.look_at_disk()
            if now - certificates >= CERTIFICATES_S:
                certificates = now
                await self.look_at_certificates()
            await asyncio.sleep(LOOK_S)

    def part(self, name: str) -> str:
        """Address of a part of the gateway."""
        return part_place(self._place, name)

    def look(self) -> None:
        """What is known without waiting: the broker and the twin functions."""
        why = self._broker()
        if why is not None:
            text = f"MQTT broker down: {why}" if why else "MQTT broker is there"
            self._alarms.set(bool(why), "G02", self.part("mqtt"), text, 600, delay=BROKER_DELAY_S)
        failed = self._failed()
        if failed or self._alarms.holds("G02", self.part("twin")):
            text = "Twin functions do not run: " + "; ".join(f"{name} ({why})" for name, why in failed.items())
            self._alarms.set(bool(failed), "G02", self.part("twin"), text, 800)

    async def look_at_disk(self) -> None:
        """Free room where everything durable is kept."""
        try:
            free = (await asyncio.to_thread(shutil.disk_usage, self._folder)).free
        except OSError as error:  # gone, or the disk with it
            self._alarms.raise_("G02", self.part("disk"), f"The data directory cannot be looked at: {error}", 800)
            return
        text = f"Only {free >> 20} MiB are free for audit, history and states"
        self._alarms.set(free < DISK_LOW, "G02", self.part("disk"), text, 800 if free < DISK_FULL else 600)

    async def look_at_certificates(self) -> None:
        """The gateway's own certificate and those of the clients that it trusts."""
        pki = self._folder / "pki"
        for name, folder in (("opcua", pki / "own"), ("trusted", pki / "trusted" / "certs")):
            worst, texts, until = await asyncio.to_thread(_worst, folder, self._wall())
            if not worst:
                self._alarms.clear("D09", self.part(name), "All certificates are valid")
                continue
            severity = EXPIRED_SEVERITY if worst == 2 else WARN_SEVERITY
            text = "Certificate: " + "; ".join(texts)
            expires = clock.from_unix(until) if until is not None else 0
            details = (("expires", clock.iso(expires)),) if expires else ()
            kind = replace(CERTIFICATE_EXPIRES, expires=expires)
            self._alarms.raise_("D09", self.part(name), text, severity, details=details, kind=kind)


def _worst(folder: Path, now: float) -> tuple[int, Sequence[str], float | None]:
    """(worst stage, a text for each certificate that is not well, when the first of them expires) in a folder."""
    worst, texts, ends = 0, [], []
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix not in {".der", ".crt", ".cer"} and (path.suffix != ".pem" or "key" in path.name):
            continue
        try:
            until = expiry(path)
        except (OSError, ValueError) as error:
            worst = max(worst, 1)
            texts.append(f"{path.name} cannot be read: {error}")
            continue
        stage = certificate_stage(until, now)
        if stage:
            worst = max(worst, stage)
            ends.append(until)
            days = (until - now) / 86_400.0
            texts.append(f"{path.name} has expired" if stage == 2 else f"{path.name} expires in {days:.0f} days")
    return worst, texts, min(ends, default=None)
