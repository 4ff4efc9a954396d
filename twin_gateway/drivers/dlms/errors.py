"""Errors of the DLMS/COSEM codec and client: one tree, so bad bytes can never raise anything else.

DlmsError
├── MalformedApduError            bytes that do not follow the encoding
│   └── WrapperError         the framing itself is broken: the connection must be dropped
├── SecurityError            a ciphered reply that fails, repeats a counter or is less protected than asked
├── AssociationError       the meter answered the association request with no
├── ServiceError           exception-response or confirmed-service-error instead of a reply
├── AccessError            data-access-result other than success
├── ActionError            action-result other than success
├── NotNegotiatedError            a service the meter did not offer in this association
├── TooLargeError                 a value longer than the configured limit
└── CounterExhaustedError         no invocation counter may be used any more with this key
"""

from __future__ import annotations

DATA_ACCESS_RESULTS = {
    0: "success",
    1: "hardware fault",
    2: "temporary failure",
    3: "read-write denied",
    4: "object undefined",
    9: "object class inconsistent",
    11: "object unavailable",
    12: "type unmatched",
    13: "scope of access violated",
    14: "data block unavailable",
    15: "long get aborted",
    16: "no long get in progress",
    17: "long set aborted",
    18: "no long set in progress",
    19: "data block number invalid",
    250: "other reason",
}
"""Text of each data-access-result and action-result code."""

SERVICE_ERRORS = {
    1: "operation not possible",
    2: "service not supported",
    3: "other reason",
    4: "PDU too long",
    5: "deciphering error",
    6: "invocation counter error",
}
"""Text of the service-error member of an exception-response."""

ASSOCIATE_DIAGNOSTICS = {
    0: "no reason given",
    1: "no reason given",
    2: "application context name not supported",
    3: "calling AP title not recognised",
    11: "authentication mechanism name not recognised",
    12: "authentication mechanism name required",
    13: "authentication failed (wrong password or key)",
    14: "authentication required",
}
"""Text of the result-source-diagnostic of a refused association."""

DECIPHERING_ERROR = 5
INVOCATION_COUNTER_ERROR = 6
"""service-error code that carries the counter the meter expects."""


class DlmsError(Exception):
    """Anything that goes wrong between a meter's bytes and a value."""


class MalformedApduError(DlmsError):
    """Bytes that do not follow the encoding rules."""


class WrapperError(MalformedApduError):
    """Broken wrapper framing; the byte stream can no longer be trusted."""


class SecurityError(DlmsError):
    """A reply that fails authentication, repeats a counter or is protected less than asked."""


class AssociationError(DlmsError):
    """The meter refused the association.

    Attributes:
        diagnostic: result-source-diagnostic, or -1 when there was none.
    """

    def __init__(self, text: str, diagnostic: int = -1) -> None:
        super().__init__(text)
        self.diagnostic = diagnostic


class ServiceError(DlmsError):
    """exception-response or confirmed-service-error in place of a reply.

    Attributes:
        service_error: code of an exception-response (SERVICE_ERRORS), -1 for a confirmed-service-error.
        expected_counter: the invocation counter the meter says it expects (unauthenticated hint), or None.
    """

    def __init__(self, text: str, service_error: int = -1, expected_counter: int | None = None) -> None:
        super().__init__(text)
        self.service_error = service_error
        self.expected_counter = expected_counter


class AccessError(DlmsError):
    """A data-access-result other than success.

    Attributes:
        code: data-access-result (DATA_ACCESS_RESULTS).
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"data-access-result {code} ({DATA_ACCESS_RESULTS.get(code, 'unknown')})")
        self.code = code


class ActionError(DlmsError):
    """An action-result other than success.

    Attributes:
        code: action-result, same numbering as data-access-result.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"action-result {code} ({DATA_ACCESS_RESULTS.get(code, 'unknown')})")
        self.code = code


class NotNegotiatedError(DlmsError):
    """The service is not part of the negotiated conformance block."""


class TooLargeError(DlmsError):
    """A reply longer than the configured limit."""


class CounterExhaustedError(DlmsError):
    """The invocation counter of a key has reached its end; the key must be changed."""
