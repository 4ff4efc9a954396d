"""The server role of DLMS/COSEM for simulated meters: association, GET, SET, ACTION, blocks of all kinds; no I/O."""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.acse import (
    AARQ,
    LONG_NAMES_CIPHERED,
    PROVED,
    RLRQ,
    AssociationRequest,
    AssociationResponse,
    Conformance,
    InitiateRequest,
    InitiateResponse,
    Mechanism,
    release_response,
)
from twin_gateway.drivers.dlms.axdr import Tag, decode, encode, read_length, read_octets, write_length
from twin_gateway.drivers.dlms.block_transfer import GENERAL_BLOCK_TRANSFER
from twin_gateway.drivers.dlms.ciphering import (
    GENERAL_CIPHERING,
    GENERAL_DED,
    GENERAL_GLO,
    Ciphering,
    Counter,
    Key,
    Protection,
    counter_of,
)
from twin_gateway.drivers.dlms.clock import decode_date_time
from twin_gateway.drivers.dlms.errors import DlmsError, MalformedApduError, SecurityError
from twin_gateway.drivers.dlms.services import ACTION_REQUEST, GET_REQUEST, SET_REQUEST
from twin_gateway.simulate.dlms_blocks import ServerBlocks
from twin_gateway.simulate.dlms_meter import (
    COUNTER_LN,
    DEVICE_NAME_LN,
    DISCONNECTOR_LN,
    MESSAGE_LN,
    PROFILE_LN,
    SERIAL_LN,
    Meter,
)

_DENIED, _UNDEFINED, _NOT_AVAILABLE, _UNMATCHED, _BAD_BLOCK = 3, 4, 11, 12, 19
_MOST_OCTETS = 1 << 20
_LEAST_PDU_OCTETS = 64
_DEDICATED = frozenset({0xD0, 0xD1, 0xD3, GENERAL_DED})
_OFFERED = (
    Conformance.BLOCK_TRANSFER_GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.BLOCK_TRANSFER_SET
    | Conformance.BLOCK_TRANSFER_ACTION
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
)


@dataclass(slots=True)
class Access:
    """Who may associate with a meter and how.

    Attributes:
        client: client SAP.
        mechanism: authentication.
        password: of LLS.
        encryption, authentication: keys of HLS-GMAC.
        title: the meter's system title.
        pdu_size: largest APDU the meter sends or takes, octets.
        lists: whether GET with-list is offered.
        counter: the meter's own invocation counter.
        protection: suite and curve keys; general protection is offered where it says so, in the client's envelope.
        block_window: blocks of general block transfer taken in a row; 0: it is not offered.
    """

    client: int
    mechanism: Mechanism = Mechanism.NONE
    password: bytes = field(default=b"", repr=False)
    encryption: Key | None = None
    authentication: Key | None = None
    title: bytes = b"SIM\0\0\0\0\1"
    pdu_size: int = 1024
    lists: bool = True
    counter: Counter = field(default_factory=lambda: Counter(int(time.time()) - 1_704_067_200))
    protection: Protection = field(default_factory=Protection)
    block_window: int = 0


class ServerAssociation:
    """One client's association with one meter; forgets everything with its connection."""

    def __init__(self, meter: Meter, access: Access) -> None:
        self._meter = meter
        self._access = access
        self._cipher: Ciphering | None = None
        self._open = False
        self._proving = False
        self._dedicated = False
        self._challenges = (b"", b"")
        self._conformance = Conformance(0)
        self._pdu_size = access.pdu_size
        self._blocks: list[bytes] = []
        self._long: tuple[bytes, bytes, int] | None = None
        self._general: ServerBlocks | None = None
        self._client_pdu_size = 0xFFFF

    @property
    def silent(self) -> bool:
        """Whether the meter answers nothing at present."""
        return self._meter.silent

    def answers(self, client: int, apdu: bytes) -> list[bytes]:
        """All APDUs that answer one APDU of a client SAP, in order: several with general block transfer."""
        in_blocks = apdu[:1] == bytes((GENERAL_BLOCK_TRANSFER,)) and self._general is not None
        out: list[bytes] = []
        if in_blocks and self._general is not None:
            try:
                out, apdu = self._general.take(apdu)
            except DlmsError:
                return [b"\xd8\x01\x03"]
            if not apdu:
                return out
        answer = self.handle(client, apdu)
        if not answer:
            return out
        if self._general is not None and (in_blocks or len(answer) > self._client_pdu_size):
            return out + self._general.answer(answer, in_blocks)
        return [*out, answer]

    def handle(self, client: int, apdu: bytes) -> bytes:
        """The answer to one APDU of a client SAP; nothing when there is none to give."""
        if client != self._access.client:
            return AssociationResponse(1, 1).encode() if apdu[:1] == bytes((AARQ,)) else b""
        try:
            return self._handle(apdu)
        except SecurityError:
            return b"\xd8\x01\x05"
        except (DlmsError, ValueError):
            return b"\xd8\x01\x03"

    def _handle(self, apdu: bytes) -> bytes:
        if not apdu:
            raise MalformedApduError("empty APDU")
        if apdu[0] == AARQ:
            return self._associate(AssociationRequest.decode(apdu))
        if apdu[0] == RLRQ:
            self._open = False
            return release_response()
        if not self._open:
            return b"\xd8\x01\x01"
        if self._cipher is None:
            return self._serve(apdu)
        number = counter_of(apdu)
        if number <= self._meter.last_counter:
            return self._stale()
        plain = self._cipher.unprotect(apdu)
        self._meter.last_counter = number
        answer = self._serve(plain)
        # An exception-response is never ciphered.
        if answer[0] == 0xD8:
            return answer
        agreement = self._cipher.protection.agreement
        if apdu[0] == GENERAL_CIPHERING and agreement is not None:
            return self._cipher.protect_agreed(answer, agreement)
        if apdu[0] in {GENERAL_GLO, GENERAL_DED, GENERAL_CIPHERING}:
            return self._cipher.protect_general(answer, apdu[0] in _DEDICATED)
        return self._cipher.protect_specific(answer, apdu[0] in _DEDICATED)

    def _stale(self) -> bytes:
        """The refusal of a counter that does not rise, over all associations; it names the one expected."""
        return b"\xd8\x01\x06" + (self._meter.last_counter + 1).to_bytes(4, "big")

    # --- association ---------------------------------------------------------------------------------------------

    def _associate(self, request: AssociationRequest) -> bytes:
        access = self._access
        self._open = False
        if request.mechanism is not access.mechanism:
            return AssociationResponse(1, 11, request.context).encode()
        if access.mechanism is Mechanism.LLS and not hmac.compare_digest(request.secret, access.password):
            return AssociationResponse(1, 13, request.context).encode()
        ciphered = access.mechanism in PROVED
        if ciphered != (request.context == LONG_NAMES_CIPHERED):
            return AssociationResponse(1, 2, request.context).encode()
        user = request.user_information
        self._cipher = None
        if ciphered:
            if access.encryption is None or access.authentication is None or len(request.title) != 8:
                return AssociationResponse(1, 3, request.context).encode()
            number = counter_of(user)
            if number <= self._meter.last_counter:
                return self._stale()
            keys = access.encryption, access.authentication
            self._cipher = Ciphering(access.title, *keys, access.counter, protection=access.protection)
            self._cipher.peer_title = request.title
            user = self._cipher.unprotect(user)
            self._meter.last_counter = number
        initiate = InitiateRequest.decode(user)
        if self._cipher is not None and initiate.dedicated_key:
            self._cipher.dedicated = Key(initiate.dedicated_key)
        self._conformance = Conformance(initiate.conformance) & self._offered()
        self._client_pdu_size = initiate.pdu_size or 0xFFFF
        self._pdu_size = min(self._client_pdu_size, access.pdu_size)
        if self._pdu_size < _LEAST_PDU_OCTETS:
            return AssociationResponse(1, 1, request.context).encode()
        self._general = None
        if self._conformance & Conformance.GENERAL_BLOCK_TRANSFER:
            self._general = ServerBlocks(access.block_window, self._pdu_size)
        answer = InitiateResponse(self._conformance, access.pdu_size).encode()
        self._open, self._proving = True, ciphered
        length = 32 if access.mechanism is Mechanism.HLS_ECDSA else 16
        self._challenges = (request.secret, secrets.token_bytes(length) if ciphered else b"")
        return AssociationResponse(
            0,
            14 if ciphered else 0,
            request.context,
            access.title if ciphered else b"",
            self._challenges[1],
            int(access.mechanism),
            self._cipher.protect(answer) if self._cipher else answer,
        ).encode()

    def _offered(self) -> Conformance:
        offered = _OFFERED if self._access.lists else _OFFERED & ~Conformance.MULTIPLE_REFERENCES
        if self._access.block_window:
            offered |= Conformance.GENERAL_BLOCK_TRANSFER
        protection = self._access.protection
        if protection.general or protection.agreement:
            offered |= Conformance.GENERAL_PROTECTION
        return offered

    def _prove(self, proof: object) -> bytes:
        """Pass 3 and 4 of HLS; the parameter of the ACTION, the return value of its response."""
        cipher, (theirs, ours) = self._cipher, self._challenges
        ecdsa = self._access.mechanism is Mechanism.HLS_ECDSA
        right = (
            cipher is not None
            and isinstance(proof, bytes)
            and (cipher.check_signature(proof, ours, theirs) if ecdsa else cipher.check_answer(proof, ours))
        )
        if cipher is None or not right:
            self._open = False
            return b""
        self._proving = False
        answer = cipher.sign_challenge(theirs, ours) if ecdsa else cipher.challenge_answer(theirs)
        return encode(Tag.OCTET_STRING, answer)

    # --- services ------------------------------------------------------------------------------------------------

    def _serve(self, apdu: bytes) -> bytes:
        if len(apdu) < 3:
            raise MalformedApduError("request is truncated")
        service, choice, invoke = apdu[0], apdu[1], apdu[2]
        if service == ACTION_REQUEST and choice == 1:
            return bytes((0xC7, 1, invoke)) + self._action(apdu)
        if self._proving:
            return b"\xd8\x01\x01"
        if service == SET_REQUEST and choice == 1:
            if len(apdu) < 14 or apdu[12]:
                return b"\xd8\x01\x02"
            return bytes((0xC5, 1, invoke, self._set(apdu[3:12], apdu[13:])))
        if (service, choice) in {(SET_REQUEST, 2), (SET_REQUEST, 3), (ACTION_REQUEST, 4), (ACTION_REQUEST, 6)}:
            return self._long_request(apdu)
        if service != GET_REQUEST:
            return b"\xd8\x02\x02"
        if choice == 1:
            data = self._get(apdu, 3)
            whole = bytes((0xC4, 1, invoke)) + data
            return whole if len(whole) <= self._room else self._first_block(invoke, data[1:])
        if choice == 2:
            return self._next_block(invoke, int.from_bytes(apdu[3:7], "big"))
        if choice == 3 and self._conformance & Conformance.MULTIPLE_REFERENCES:
            count, at = read_length(apdu, 3)
            if len(apdu) < at + 10 * count:
                raise MalformedApduError("list is truncated")
            body = write_length(count) + b"".join([self._get(apdu, at + 10 * i) for i in range(count)])
            whole = bytes((0xC4, 3, invoke)) + body
            return whole if len(whole) <= self._room else self._first_block(invoke, body)
        return b"\xd8\x01\x02"

    def _long_request(self, apdu: bytes) -> bytes:
        """One block of a SET or of the parameter of an ACTION."""
        service, choice, invoke = apdu[0], apdu[1], apdu[2]
        first = choice in {2, 4}
        at = (13 if service == SET_REQUEST else 12) if first else 3
        last, number = apdu[at : at + 1] != b"\0", int.from_bytes(apdu[at + 1 : at + 5], "big")
        data, _ = read_octets(apdu, at + 5)
        known = (apdu[3:12], b"", 0) if first else self._long
        if known is None or number != known[2] + 1 or len(known[1]) + len(data) > _MOST_OCTETS:
            self._long = None
            return bytes((0xC5, 1, invoke, _BAD_BLOCK)) if service == SET_REQUEST else bytes((0xC7, 1, invoke, 19, 0))
        what, data = known[0], known[1] + data
        self._long = None if last else (what, data, number)
        if service == SET_REQUEST:
            if not last:
                return bytes((0xC5, 2, invoke)) + number.to_bytes(4, "big")
            return bytes((0xC5, 3, invoke, self._set(what, data))) + number.to_bytes(4, "big")
        if not last:
            return bytes((0xC7, 4, invoke)) + number.to_bytes(4, "big")
        return bytes((0xC7, 1, invoke)) + self._action(bytes((ACTION_REQUEST, 1, invoke)) + what + b"\1" + data)

    def _set(self, what: bytes, data: bytes) -> int:
        """Sets an attribute (class, name, number in `what`); the data-access-result."""
        value, _ = decode(data)
        meter, name = self._meter, what[2:8]
        match int.from_bytes(what[:2], "big"), name, what[8]:
            case obis.CLOCK, obis.CLOCK_LN, 2:
                time_given = decode_date_time(value).utc if isinstance(value, bytes) and len(value) == 12 else None
                if time_given is None:
                    return _UNMATCHED
                meter.clock_offset = time_given.timestamp() - time.time()
                return 0
            case obis.DATA, _, 2 if name == MESSAGE_LN:
                if not isinstance(value, bytes):
                    return _UNMATCHED
                meter.message = value
                return 0
        return _DENIED

    @property
    def _room(self) -> int:
        """Octets of an answer that are not cut into blocks of its service."""
        if self._general is not None:
            return _MOST_OCTETS
        return self._pdu_size - (32 if self._cipher else 0)

    def _first_block(self, invoke: int, data: bytes) -> bytes:
        size = self._room - 16
        self._blocks = [data[i : i + size] for i in range(0, len(data), size)]
        return self._block(invoke, 1)

    def _next_block(self, invoke: int, done: int) -> bytes:
        if not 1 <= done < len(self._blocks):
            return bytes((0xC4, 2, invoke, 1)) + done.to_bytes(4, "big") + bytes((1, _BAD_BLOCK))
        return self._block(invoke, done + 1)

    def _block(self, invoke: int, number: int) -> bytes:
        data, last = self._blocks[number - 1], number == len(self._blocks)
        if last:
            self._blocks = []
        head = bytes((0xC4, 2, invoke, last)) + number.to_bytes(4, "big")
        return head + b"\x00" + write_length(len(data)) + data

    def _get(self, apdu: bytes, at: int) -> bytes:
        """Choice and data, or choice and data-access-result, of one attribute."""
        if len(apdu) < at + 10:
            raise MalformedApduError("GET is truncated")
        class_id, name = int.from_bytes(apdu[at : at + 2], "big"), apdu[at + 2 : at + 8]
        selection = apdu[at + 10 :] if apdu[at + 9] else b""
        found = self._value(class_id, name, apdu[at + 8], selection)
        return bytes((1, found)) if isinstance(found, int) else b"\x00" + found

    def _value(self, class_id: int, name: bytes, number: int, selection: bytes) -> bytes | int:
        """Encoded value of an attribute, or a data-access-result."""
        meter = self._meter
        if class_id == obis.REGISTER and name in meter.registers:
            if number == 2:
                return meter.raw(name, time.time())
            return meter.scaler_unit(name) if number == 3 else self._name(name, number)
        if number == 1 and (class_id, name) in meter.objects():
            return self._name(name, 1)
        match class_id, name, number:
            case obis.CLOCK, obis.CLOCK_LN, 2:
                return encode(Tag.OCTET_STRING, meter.date_time(time.time()))
            case obis.DATA, _, 2 if name in {SERIAL_LN, DEVICE_NAME_LN}:
                return encode(Tag.OCTET_STRING, meter.serial.encode())
            case obis.DATA, _, 2 if name == MESSAGE_LN:
                return encode(Tag.OCTET_STRING, meter.message)
            case obis.DATA, _, 2 if name == COUNTER_LN:
                return encode(Tag.UINT32, meter.last_counter)
            case obis.DISCONNECT, _, _ if name == DISCONNECTOR_LN and meter.connected is not None:
                return self._disconnector(number)
            case obis.PROFILE, _, _ if name == PROFILE_LN and meter.profile_columns:
                return self._profile(number, selection)
            case obis.ASSOCIATION, obis.ASSOCIATION_LN, 2:
                return self._object_list()
        return _UNDEFINED

    @staticmethod
    def _name(name: bytes, number: int) -> bytes | int:
        return encode(Tag.OCTET_STRING, name) if number == 1 else _NOT_AVAILABLE

    def _disconnector(self, number: int) -> bytes | int:
        closed = bool(self._meter.connected)
        values = {2: encode(Tag.BOOLEAN, closed), 3: encode(Tag.ENUM, int(closed)), 4: encode(Tag.ENUM, 4)}
        return values.get(number, _NOT_AVAILABLE)

    def _profile(self, number: int, selection: bytes) -> bytes | int:
        meter = self._meter
        if number == 2:
            return self._rows(selection)
        if number == 3:
            objects = [(obis.CLOCK, obis.CLOCK_LN), *((obis.REGISTER, name) for name in meter.profile_columns)]
            columns = [
                [encode(Tag.UINT16, c), encode(Tag.OCTET_STRING, n), encode(Tag.INT8, 2), encode(Tag.UINT16, 0)]
                for c, n in objects
            ]
            return encode(Tag.ARRAY, [encode(Tag.STRUCTURE, column) for column in columns])
        numbers = {4: int(meter.profile_period), 7: len(meter.rows), 8: meter.rows.maxlen or 0}
        if number == 5:
            return encode(Tag.ENUM, 1)
        if number == 6:
            column = [encode(Tag.UINT16, 0), encode(Tag.OCTET_STRING, bytes(6)), encode(Tag.INT8, 0)]
            return encode(Tag.STRUCTURE, [*column, encode(Tag.UINT16, 0)])
        return encode(Tag.UINT32, numbers[number]) if number in numbers else _NOT_AVAILABLE

    def _rows(self, selection: bytes) -> bytes | int:
        meter = self._meter
        if not selection:
            return meter.profile(-1e12, 1e12)
        chosen, _ = decode(selection, 1)
        match selection[0], chosen:
            case 1, [_, bytes(start), bytes(end), _]:
                bounds = [decode_date_time(octets).utc for octets in (start, end)]
                if bounds[0] is None or bounds[1] is None:
                    return 250
                return meter.profile(bounds[0].timestamp(), bounds[1].timestamp())
            case 2, [int(first), int(last), *_]:
                rows = [row for _, row in meter.rows]
                return encode(Tag.ARRAY, rows[max(0, first - 1) : last or None])
        return 250

    def _object_list(self) -> bytes:
        rights = encode(Tag.STRUCTURE, [encode(Tag.ARRAY, []), encode(Tag.ARRAY, [])])
        items = [
            [encode(Tag.UINT16, class_id), encode(Tag.UINT8, 0), encode(Tag.OCTET_STRING, name), rights]
            for class_id, name in self._meter.objects()
        ]
        return encode(Tag.ARRAY, [encode(Tag.STRUCTURE, item) for item in items])

    def _action(self, apdu: bytes) -> bytes:
        """Result and return value of an ACTION."""
        if len(apdu) < 13:
            raise MalformedApduError("ACTION is truncated")
        class_id, name, method = int.from_bytes(apdu[3:5], "big"), apdu[5:11], apdu[11]
        parameter = decode(apdu, 13)[0] if apdu[12] else None
        if (class_id, name, method) == (obis.ASSOCIATION, obis.ASSOCIATION_LN, 1) and self._proving:
            answer = self._prove(parameter)
            return b"\x00\x01\x00" + answer if answer else bytes((_DENIED, 0))
        if self._proving:
            return bytes((_DENIED, 0))
        if class_id == obis.DISCONNECT and name == DISCONNECTOR_LN and self._meter.connected is not None:
            if method not in {1, 2}:
                return bytes((_DENIED, 0))
            self._meter.switch(method == 2)
            return b"\x00\x00"
        return bytes((_UNDEFINED, 0))
