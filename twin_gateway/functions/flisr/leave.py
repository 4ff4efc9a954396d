"""What lets automatic feeders run by themselves: no inhibit, somebody present, a pause, all data good (spec 3.6)."""

from __future__ import annotations

from collections.abc import Callable

from twin_gateway.functions.flisr.desk_work import DeskWork
from twin_gateway.functions.flisr.journal import FlisrJournal
from twin_gateway.functions.flisr.observe import GridEye
from twin_gateway.functions.flisr.regions import Regions
from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.twin.flisr.states import Trigger


class Leave:
    """The leave of all feeders.

    Attributes:
        inhibited: why nothing runs by itself; empty when it may.
        present_until: s, until when an operator counts as there.
    """

    def __init__(
        self,
        settings: FlisrSettings,
        eye: GridEye,
        *,
        regions: Regions,
        journal: FlisrJournal,
        work: DeskWork,
        now: Callable[[], float],
    ) -> None:
        self.inhibited = ""
        self.present_until = float("-inf")
        self._settings = settings
        self._eye = eye
        self._regions = regions
        self._journal = journal
        self._work = work
        self._now = now
        self._auto_at: dict[str, tuple[str, float]] = {}

    async def inhibit(self, reason: str) -> None:
        """Nothing runs by itself, for a reason; an empty one: it may again. Durable; the safe side takes effect first.

        Raises:
            OSError, sqlite3.Error: it could not be written.
        """
        self.inhibited = reason or self.inhibited
        await self._journal.put_word("inhibit", {"reason": reason})
        self.inhibited = reason

    async def present(self) -> None:
        """An operator is there, for the time set; durable.

        Raises:
            OSError, sqlite3.Error: it could not be written.
        """
        until = self._now() + (self._settings.presence or 0.0)
        await self._journal.put_word("presence", {"until": until})
        self.present_until = until

    async def restore(self) -> None:
        """What people had said before the start."""
        words = await self._journal.words()
        self.inhibited = words.get("inhibit", {}).get("reason", "")
        # The clock of the machine may have been set since, and the setting changed.
        until = words.get("presence", {}).get("until", float("-inf"))
        self.present_until = min(until, self._now() + (self._settings.presence or 0.0))

    def taken(self, trigger: Trigger) -> None:
        """An event runs by itself: the next one of its feeder has to wait."""
        self._auto_at[trigger.feeder] = (trigger.event, self._now())

    def refusals(self, trigger: Trigger) -> list[str]:
        """Why a feeder may not run by itself now (spec 3.6)."""
        feeder = trigger.feeder
        region, item = self._regions.region(feeder), self._eye.network.grid.feeders[feeder]
        found = []
        bad = self._eye.not_good(sorted(region))
        if bad:
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            found.append(f"not Good: {', '.join(bad[:3])}{more}")
        tagged = next((text for switch in sorted(region) if (text := self._eye.peoples_tag(switch))), "")
        if tagged:
            found.append(f"a tag stands in the area: {tagged}")
        if self.inhibited:
            found.append(f"inhibited: {self.inhibited}")
        if self._settings.presence is not None and self._now() > self.present_until:
            found.append("no operator has said to be there")
        event, last = self._auto_at.get(feeder, ("", float("-inf")))
        if event != trigger.event and self._now() - last < self._settings.block:
            found.append(f"an automatic sequence ran less than {self._settings.block:g} s ago")
        if item.reclosing != "none" and not self._work.controllable(item.reclose_block):
            found.append("reclosing cannot be blocked")
        return found
