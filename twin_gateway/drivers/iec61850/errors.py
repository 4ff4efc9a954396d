"""Errors of the 61850 driver: one tree, on top of the MMS codec's own.

MmsError
├── MmsConnectionError   the association was refused or lost
│   └── MmsNotSent       it was lost before the request left
├── MmsTimeout           no answer in time
├── MmsBusy              no turn in time: nothing was sent
├── MmsTooLarge          a request that the device would not take: nothing was sent
├── MmsProtocolError     the peer sent what cannot be decoded
├── DataAccessError      one variable was refused (`code`)
├── ServiceError         a request was answered by an error
├── MmsReject            a request was rejected
└── ModelError           a reference, data set or SCL file does not fit
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from open61850.ber import BerError
from open61850.mms.errors import (
    DATA_ACCESS_ERRORS,
    DataAccessError,
    MmsConnectionError,
    MmsError,
    MmsProtocolError,
    MmsReject,
    MmsTimeout,
    ServiceError,
)

__all__ = [
    "DATA_ACCESS_ERRORS",
    "BerError",
    "DataAccessError",
    "MmsBusy",
    "MmsConnectionError",
    "MmsError",
    "MmsNotSent",
    "MmsProtocolError",
    "MmsReject",
    "MmsTimeout",
    "MmsTooLarge",
    "ModelError",
    "ServiceError",
    "decoded",
]

_T = TypeVar("_T")

OBJECT_NON_EXISTENT = 10
"""DataAccessError code of an attribute that the device does not have."""


class MmsNotSent(MmsConnectionError):  # noqa: N818 - named for what happened
    """The association was over before the request was sent."""


class MmsBusy(MmsError):  # noqa: N818 - named like its siblings in the codec
    """As many requests as the device accepts were under way all the time; nothing was sent."""


class MmsTooLarge(MmsError):  # noqa: N818 - named like its siblings in the codec
    """A request longer than the PDU size agreed with the device; nothing was sent."""


class ModelError(MmsError):
    """A reference, a data set or an SCL file does not fit the device or the mapping."""


def decoded(decode: Callable[[bytes], _T], content: bytes) -> _T:
    """What a decoder of the codec library makes of an answer.

    Raises:
        MmsProtocolError: for whatever it raises on nonsense.
    """
    try:
        return decode(content)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise MmsProtocolError(f"an answer that cannot be decoded: {type(error).__name__}: {error}") from error
