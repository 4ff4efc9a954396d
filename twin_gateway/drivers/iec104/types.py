"""Table of the ASDU types of IEC 60870-5-104: numbers, names, element layouts, time tags and causes of transmission."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class AsduError(ValueError):
    """An ASDU cannot be decoded or encoded; the text says why. The only error the codec raises."""


class TimeTag(IntEnum):
    """Kind of time tag of a type; the value is its length in octets."""

    NONE = 0
    CP24 = 3
    CP56 = 7


class Family(Enum):
    """What an information element holds, whatever its time tag. The value is (number, octets without time tag)."""

    SINGLE = (0, 1)
    DOUBLE = (1, 1)
    STEP = (2, 2)
    BITSTRING = (3, 5)
    NORMALISED = (4, 3)
    SCALED = (5, 3)
    FLOAT = (6, 5)
    COUNTER = (7, 5)
    PROTECTION = (8, 3)
    PROTECTION_START = (9, 4)
    PROTECTION_OUTPUT = (10, 4)
    PACKED_SINGLE = (11, 5)
    NORMALISED_BARE = (12, 2)
    COMMAND_OCTET = (13, 1)
    SETPOINT_INT = (14, 3)
    SETPOINT_FLOAT = (15, 5)
    WORD32 = (16, 4)
    OCTET = (17, 1)
    WORD16 = (18, 2)
    EMPTY = (19, 0)
    SETPOINT_NORMALISED = (20, 3)

    @property
    def number(self) -> int:
        """Small number of the family, the index of column tables."""
        return int(self.value[0])

    @property
    def octets(self) -> int:
        """Length of the element without its time tag."""
        return int(self.value[1])


class AsduType(NamedTuple):
    """One ASDU type: its number, its name, what its elements hold and how they are time-tagged."""

    number: int
    name: str
    family: Family
    time: TimeTag

    @property
    def size(self) -> int:
        """Octets of one information element with its time tag."""
        return self.family.octets + int(self.time)

    @property
    def monitor(self) -> bool:
        """True for process information in monitor direction (types 1 to 40)."""
        return self.number <= 40


_F, _T = Family, TimeTag
_ROWS = (
    (1, "M_SP_NA_1", _F.SINGLE, _T.NONE),
    (2, "M_SP_TA_1", _F.SINGLE, _T.CP24),
    (3, "M_DP_NA_1", _F.DOUBLE, _T.NONE),
    (4, "M_DP_TA_1", _F.DOUBLE, _T.CP24),
    (5, "M_ST_NA_1", _F.STEP, _T.NONE),
    (6, "M_ST_TA_1", _F.STEP, _T.CP24),
    (7, "M_BO_NA_1", _F.BITSTRING, _T.NONE),
    (8, "M_BO_TA_1", _F.BITSTRING, _T.CP24),
    (9, "M_ME_NA_1", _F.NORMALISED, _T.NONE),
    (10, "M_ME_TA_1", _F.NORMALISED, _T.CP24),
    (11, "M_ME_NB_1", _F.SCALED, _T.NONE),
    (12, "M_ME_TB_1", _F.SCALED, _T.CP24),
    (13, "M_ME_NC_1", _F.FLOAT, _T.NONE),
    (14, "M_ME_TC_1", _F.FLOAT, _T.CP24),
    (15, "M_IT_NA_1", _F.COUNTER, _T.NONE),
    (16, "M_IT_TA_1", _F.COUNTER, _T.CP24),
    (17, "M_EP_TA_1", _F.PROTECTION, _T.CP24),
    (18, "M_EP_TB_1", _F.PROTECTION_START, _T.CP24),
    (19, "M_EP_TC_1", _F.PROTECTION_OUTPUT, _T.CP24),
    (20, "M_PS_NA_1", _F.PACKED_SINGLE, _T.NONE),
    (21, "M_ME_ND_1", _F.NORMALISED_BARE, _T.NONE),
    (30, "M_SP_TB_1", _F.SINGLE, _T.CP56),
    (31, "M_DP_TB_1", _F.DOUBLE, _T.CP56),
    (32, "M_ST_TB_1", _F.STEP, _T.CP56),
    (33, "M_BO_TB_1", _F.BITSTRING, _T.CP56),
    (34, "M_ME_TD_1", _F.NORMALISED, _T.CP56),
    (35, "M_ME_TE_1", _F.SCALED, _T.CP56),
    (36, "M_ME_TF_1", _F.FLOAT, _T.CP56),
    (37, "M_IT_TB_1", _F.COUNTER, _T.CP56),
    (38, "M_EP_TD_1", _F.PROTECTION, _T.CP56),
    (39, "M_EP_TE_1", _F.PROTECTION_START, _T.CP56),
    (40, "M_EP_TF_1", _F.PROTECTION_OUTPUT, _T.CP56),
    (45, "C_SC_NA_1", _F.COMMAND_OCTET, _T.NONE),
    (46, "C_DC_NA_1", _F.COMMAND_OCTET, _T.NONE),
    (47, "C_RC_NA_1", _F.COMMAND_OCTET, _T.NONE),
    (48, "C_SE_NA_1", _F.SETPOINT_NORMALISED, _T.NONE),
    (49, "C_SE_NB_1", _F.SETPOINT_INT, _T.NONE),
    (50, "C_SE_NC_1", _F.SETPOINT_FLOAT, _T.NONE),
    (51, "C_BO_NA_1", _F.WORD32, _T.NONE),
    (58, "C_SC_TA_1", _F.COMMAND_OCTET, _T.CP56),
    (59, "C_DC_TA_1", _F.COMMAND_OCTET, _T.CP56),
    (60, "C_RC_TA_1", _F.COMMAND_OCTET, _T.CP56),
    (61, "C_SE_TA_1", _F.SETPOINT_NORMALISED, _T.CP56),
    (62, "C_SE_TB_1", _F.SETPOINT_INT, _T.CP56),
    (63, "C_SE_TC_1", _F.SETPOINT_FLOAT, _T.CP56),
    (64, "C_BO_TA_1", _F.WORD32, _T.CP56),
    (70, "M_EI_NA_1", _F.OCTET, _T.NONE),
    (100, "C_IC_NA_1", _F.OCTET, _T.NONE),
    (101, "C_CI_NA_1", _F.OCTET, _T.NONE),
    (102, "C_RD_NA_1", _F.EMPTY, _T.NONE),
    (103, "C_CS_NA_1", _F.EMPTY, _T.CP56),
    (104, "C_TS_NA_1", _F.WORD16, _T.NONE),
    (105, "C_RP_NA_1", _F.OCTET, _T.NONE),
    (106, "C_CD_NA_1", _F.WORD16, _T.NONE),
    (107, "C_TS_TA_1", _F.WORD16, _T.CP56),
    (110, "P_ME_NA_1", _F.SETPOINT_NORMALISED, _T.NONE),
    (111, "P_ME_NB_1", _F.SETPOINT_INT, _T.NONE),
    (112, "P_ME_NC_1", _F.SETPOINT_FLOAT, _T.NONE),
    (113, "P_AC_NA_1", _F.OCTET, _T.NONE),
)
TYPES: dict[int, AsduType] = {row[0]: AsduType(*row) for row in _ROWS}
"""Every known type by its number."""
BY_NAME: dict[str, AsduType] = {known.name: known for known in TYPES.values()}
"""Every known type by its name."""
MONITOR: dict[int, AsduType] = {number: known for number, known in TYPES.items() if known.monitor}
"""The types that carry process information to us."""

VALUE_GROUP: dict[Family, int] = {family: family.number for family in Family} | {
    Family.NORMALISED_BARE: Family.NORMALISED.number
}
"""Families whose values may stand for each other at one address, with and without quality descriptor."""


class Cause(IntEnum):
    """Cause of transmission, 6 bits of its octet."""

    PERIODIC = 1
    BACKGROUND = 2
    SPONTANEOUS = 3
    INITIALISED = 4
    REQUEST = 5
    ACTIVATION = 6
    ACTIVATION_CON = 7
    DEACTIVATION = 8
    DEACTIVATION_CON = 9
    ACTIVATION_TERM = 10
    RETURN_REMOTE = 11
    RETURN_LOCAL = 12
    FILE = 13
    INTERROGATED = 20
    COUNTERS_REQUESTED = 37
    COUNTERS_REQUESTED_GROUP_4 = 41
    UNKNOWN_TYPE = 44
    UNKNOWN_CAUSE = 45
    UNKNOWN_COMMON_ADDRESS = 46
    UNKNOWN_OBJECT_ADDRESS = 47


INTERROGATED_CAUSES = frozenset(range(20, 37))
"""Answers to a station or group interrogation."""
COUNTER_CAUSES = frozenset(range(37, 42))
"""Answers to a counter interrogation."""
MONITOR_CAUSES = frozenset((1, 2, 3, 5, 11, 12)) | INTERROGATED_CAUSES | COUNTER_CAUSES
"""Causes with which process information may arrive."""
EVENT_CAUSES = frozenset((3, 11, 12))
"""Causes that report a change at the moment it happened (or, before the interrogation ends, from a buffer)."""
BROADCAST = 0xFFFF
"""The common address that means every station of the link."""
MAX_ADDRESS = 0xFF_FFFF
"""The highest information object address."""
