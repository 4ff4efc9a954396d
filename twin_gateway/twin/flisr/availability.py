"""What may be asked of a switch now: whether it can be opened and closed, by whom, and why not."""

from __future__ import annotations

from twin_gateway.grid.model import Position, SwitchRating
from twin_gateway.twin.flisr.records import SwitchInputs, SwitchState

ALARM = 3
"""EEHealth."""


def switch_state(rating: SwitchRating, inputs: SwitchInputs) -> SwitchState:
    """What may be asked of a switch now (spec 3.3); every reason against it is named."""
    both = [
        (not rating.remote or not rating.command, "no remote control"),
        (not inputs.comms_good, "communication lost"),
        (inputs.local is True, "Loc"),
        (inputs.station_local is True, "LocSta"),
        (inputs.command_blocked is True, "CmdBlk"),
        (inputs.drive_blocked is True, "drive blocked (SOPM)"),
        (inputs.gas_blocked is True, "insulation blocked (SIMG)"),
        (inputs.health is not None and inputs.health >= ALARM, "EEHealth"),
        (inputs.operations_left is not None and inputs.operations_left <= 0, "too many operations in this hour"),
        (not inputs.behaviour_on, "Beh"),
        (inputs.test, "test quality"),
        (inputs.tagged, "tag"),
    ]
    capability = inputs.capability
    opening = [
        (inputs.blocked_open is True, "BlkOpn"),
        (inputs.release_open is False, "CILO EnaOpn"),
        (capability is not None and capability < 2, "CBOpCap for opening"),
    ]
    closing = [
        (inputs.blocked_close is True, "BlkCls"),
        (inputs.release_close is False, "CILO EnaCls"),
        (capability is not None and capability < 3, "CBOpCap for closing"),
    ]
    against = [why for applies, why in both if applies]
    against_open = [why for applies, why in opening if applies]
    against_close = [why for applies, why in closing if applies]
    known = inputs.position_good and inputs.position in {Position.OPEN, Position.CLOSED}
    if not known:
        against.append("position not known")
    can_close = not against and not against_close
    reasons = (*against, *against_open, *against_close, *(() if inputs.earth_known else ("earthing not known",)))
    return SwitchState(
        position=inputs.position if known else Position.UNKNOWN,
        can_open=not against and not against_open,
        can_close=can_close,
        auto_close=can_close and inputs.earth_known,
        tagged=inputs.tagged,
        reasons=reasons,
    )
