"""A GOOSE publisher: states, repetitions, numbers and time allowed to live of one control block, and what may be wrong.

Pure: it makes frames and says when the next one is due; times are seconds of one monotonic clock. The frames are those
of open61850's encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from open61850.data import IECData, encode_data
from open61850.ethernet import ETHERTYPE_GOOSE, build_frame
from open61850.goose import GoosePDU, encode_goose_pdu
from open61850.goose_publisher import GooseControl, retransmission_intervals

SYNCHRONISED: Final = 0x0A
"""Time quality of `t`: synchronised, accurate to a millisecond."""
NOT_SYNCHRONISED: Final = 0x20
_MOST: Final = 0xFFFF_FFFF
_SIMULATED: Final = 0x8000
_CONTROL: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "conf_rev": ("conf_rev", int),
    "data_set": ("dat_set", str),
    "go_id": ("go_id", str),
    "reference": ("gocb_ref", str),
    "app_id": ("app_id", int),
    "destination": ("dst_mac", str),
    "source": ("src_mac", str),
    "vlan": ("vlan_id", int),
    "simulation": ("simulation", bool),
    "needs_commissioning": ("nds_com", bool),
}
"""Orders that change what the messages carry: the field of the control block and its type."""


@dataclass(slots=True)
class Faults:
    """What goes wrong with the messages.

    Attributes:
        lose: so many of the next messages are lost on the way; they count.
        silent: all are, as with a cable that was pulled.
        copies: each message comes so many times.
        live: time allowed to live in ms, whatever the wait until the next message is; 0 for the right one.
        members: only so many of the data set are sent; 0 for all.
    """

    lose: int = 0
    silent: bool = False
    copies: int = 1
    live: int = 0
    members: int = 0


class Publisher:
    """One control block.

    Args:
        control: its identity, addresses and the waits of its repetitions.
        values: members of its data set.
        clock: the time of the device for `t`.

    Attributes:
        state, sequence: stNum and sqNum of the next message.
        due: when the next message is to be sent.
        sent, lost: messages so far.
        time_quality: of `t`.
    """

    def __init__(self, control: GooseControl, values: Sequence[IECData], clock: Callable[[], datetime]) -> None:
        self.control = control
        self.faults = Faults()
        self.time_quality = SYNCHRONISED
        self.state = self.sequence = 0
        self.due = math.inf  # nothing before it begins
        self.sent = self.lost = 0
        self._clock = clock
        self._began = clock()
        self._values = list(values)
        self._octets = _octets(self._values)
        self._waits: Iterator[int] = iter(())

    def change(self, values: Sequence[IECData], now: float) -> bool:
        """Take the members as they are now; a change is a new state, to be sent at once. Whether it is one."""
        octets = _octets(values)
        if octets == self._octets:
            return False
        self._values, self._octets = list(values), octets
        self._renew(now, self.state + 1)
        return True

    def begin(self, now: float) -> None:
        """The control block is enabled: stNum and sqNum are 1, as IEC 61850-7-2 says."""
        self._renew(now, 1, 1)

    def _renew(self, now: float, state: int, sequence: int = 0) -> None:
        self.state, self.sequence = (state if state <= _MOST else 1), sequence
        self._began = self._clock()
        self._waits = retransmission_intervals(self.control.min_time_ms, self.control.max_time_ms)
        self.due = now

    def obey(self, order: Mapping[str, Any], now: float) -> None:
        """Carry out one order: what the messages carry, what goes wrong with them.

        Raises:
            ValueError, TypeError: the order makes no sense.
        """
        changed = {field: kind(order[name]) for name, (field, kind) in _CONTROL.items() if name in order}
        if changed:
            before, self.control = self.control, replace(self.control, **changed)
            try:
                self.frame(1)
            except (ValueError, OverflowError):
                self.control = before
                raise
        for name in ("lose", "copies", "live", "members"):
            if name in order:
                number = int(order[name])
                if number < 0:
                    raise ValueError(f"{name} is a number from 0")
                setattr(self.faults, name, number)
        if "silent" in order:
            self.faults.silent = bool(order["silent"])
        if order.get("restart"):
            self.begin(now)
        elif "skip" in order:
            self._renew(now, self.state + 1 + int(order["skip"]))

    def messages(self, now: float) -> list[bytes]:
        """Frames to be sent now, most often none or one; each repetition is due later than the one before."""
        if now < self.due:
            return []
        wait = next(self._waits)
        live = self.faults.live or self.control.tal_factor * wait
        frame = self.frame(live)
        # A sender that was late does not catch up: nobody needs two repetitions at once.
        self.due = max(self.due + wait / 1000, now)
        self.sequence = 1 if self.sequence == _MOST else self.sequence + 1
        if self.faults.silent or self.faults.lose:
            self.faults.lose = max(0, self.faults.lose - 1)
            self.lost += 1
            return []
        self.sent += 1
        return [frame] * self.faults.copies

    def frame(self, live: int) -> bytes:
        """The message of the present numbers; `live` in milliseconds.

        Raises:
            ValueError: a text or a number that no message can carry.
        """
        control = self.control
        values = self._values[: self.faults.members or None]
        pdu = GoosePDU(
            gocb_ref=control.gocb_ref,
            time_allowed_to_live=math.ceil(live),
            dat_set=control.dat_set,
            go_id=control.go_id,
            timestamp=self._began,
            st_num=self.state,
            sq_num=self.sequence,
            simulation=control.simulation,
            conf_rev=control.conf_rev,
            nds_com=control.nds_com,
            num_dat_set_entries=len(values),
            all_data=values,
            time_quality=self.time_quality,
        )
        return build_frame(
            dst_mac=control.dst_mac,
            src_mac=control.src_mac,
            ethertype=ETHERTYPE_GOOSE,
            app_id=control.app_id,
            apdu=encode_goose_pdu(pdu),
            vlan_id=control.vlan_id,
            vlan_priority=control.vlan_priority,
            reserved1=_SIMULATED if control.simulation else 0,
        )


def _octets(values: Sequence[IECData]) -> bytes:
    return b"".join(encode_data(value) for value in values)
