"""How associations with a meter are opened: from what the mapping says to an association, its keys and counters."""

from __future__ import annotations

import asyncio
import secrets

from pydantic import SecretStr

from twin_gateway.drivers.contract import Link
from twin_gateway.drivers.dlms.acse import Mechanism
from twin_gateway.drivers.dlms.association import Association, Limits
from twin_gateway.drivers.dlms.ciphering import Ciphering, Counter, Key, Protection
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.counters import CounterStore, StoredCounter, counter_key
from twin_gateway.drivers.dlms.errors import INVOCATION_COUNTER_ERROR, ServiceError
from twin_gateway.drivers.dlms.hdlc import Address, Parameters
from twin_gateway.drivers.dlms.logical_names import LogicalNameAssociation
from twin_gateway.drivers.dlms.pace import Pace
from twin_gateway.drivers.dlms.session import Framing, Peer, Session
from twin_gateway.drivers.dlms.short_names import ShortNameAssociation
from twin_gateway.drivers.dlms.suite1 import Agreement, AgreementKeys, SigningKeys, load_private, load_public
from twin_gateway.drivers.dlms.wire import Notes

_MECHANISMS = {
    "none": Mechanism.NONE,
    "lls": Mechanism.LLS,
    "hls-gmac": Mechanism.HLS_GMAC,
    "hls-ecdsa": Mechanism.HLS_ECDSA,
}
_SCHEMES = {"one-pass": Agreement.ONE_PASS, "static": Agreement.STATIC}


def association_of(config: DlmsConfig, ciphering: Ciphering | None) -> Association:
    """A fresh association, with logical or short names."""
    kind = ShortNameAssociation if config.referencing == "short" else LogicalNameAssociation
    return kind(
        mechanism=_MECHANISMS[config.security],
        password=config.password.get_secret_value().encode() if config.password else b"",
        ciphering=ciphering,
        dedicated_for_hls=config.hls_key == "dedicated",
        limits=Limits(
            pdu_size=config.pdu_size,
            list_items=config.list_items if config.lists else 1,
            block_window=config.block_window,
        ),
    )


def peer_of(config: DlmsConfig) -> Peer:
    """Where the meter is and how its octets are framed."""
    framing = None
    if config.framing == "hdlc":
        hdlc = config.hdlc
        server = Address.of_server(config.logical_device, hdlc.physical_device, hdlc.address_octets)
        proposed = Parameters(hdlc.frame_octets, hdlc.frame_octets, hdlc.window, hdlc.window)
        framing = Framing(server, proposed, hdlc.retries, hdlc.retry_after)
    return Peer(config.host, config.port, config.client_sap, config.logical_device, framing)


async def protection_of(config: DlmsConfig) -> Protection:
    """Suite, envelopes and curve keys; reads the files of the keys.

    Raises:
        OSError: a key cannot be read.
    """
    curves = config.security == "hls-ecdsa" or config.key_agreement != "none"
    suite = int(curves) if config.suite is None else int(config.suite)
    if not curves:
        return Protection(suite, config.general_ciphering)
    signing, agreement = await asyncio.to_thread(_curve_keys, config)
    return Protection(suite, config.general_ciphering, signing, agreement)


def _curve_keys(config: DlmsConfig) -> tuple[SigningKeys | None, AgreementKeys | None]:
    files = config.curve_keys
    signing = agreement = None
    if files.signing and files.meter_signing:
        signing = SigningKeys(load_private(files.signing), load_public(files.meter_signing))
    if config.key_agreement != "none" and files.agreement and files.meter_agreement:
        scheme = _SCHEMES[config.key_agreement]
        agreement = AgreementKeys(load_private(files.agreement), load_public(files.meter_agreement), scheme)
    return signing, agreement


class Opener:
    """Opens the associations with one meter, one after another; keeps its keys and its counter.

    Args:
        name: of the device; our system title is made from it.
        config: of the device.
    """

    def __init__(self, name: str, config: DlmsConfig) -> None:
        self._name = name
        self._config = config
        self._counter: StoredCounter | None = None
        keys = config.keys
        self._keys = (
            (Key(_octets(keys.encryption)), Key(_octets(keys.authentication)))
            if keys is not None and config.ciphered
            else None
        )

    async def open(self, link: Link, pace: Pace, notes: Notes) -> Session:
        """A session with an association; a counter that the meter finds too low is moved forward once.

        Raises:
            OSError, DlmsError: as Session.connect; CounterStoreError and what reading of the keys raises.
        """
        try:
            return await self._open(link, pace, notes)
        except ServiceError as error:
            if not self.follow(error, link):
                raise
        return await self._open(link, pace, notes)

    async def _open(self, link: Link, pace: Pace, notes: Notes) -> Session:
        config = self._config
        association = association_of(config, await self._ciphering(link))
        return await Session.connect(peer_of(config), association, pace=pace, answer_within=config.timeout, notes=notes)

    async def _ciphering(self, link: Link) -> Ciphering | None:
        if self._keys is None:
            return None
        encryption, authentication = self._keys
        title = self._config.title(self._name)
        if self._counter is None:
            # Beside the links' own directories: one journal for all of them. Links that share a key and a system title
            # must draw from one counter, and a thousand meters are to cost one sync at the start.
            store = await CounterStore.shared(link.data_directory.parent / "dlms-counters.journal")
            self._counter = store.counter(counter_key(title, encryption))
        await self._counter.ensure()
        dedicated = Key(secrets.token_bytes(16)) if self._config.dedicated_key else None
        protection = await protection_of(self._config)
        return Ciphering(title, encryption, authentication, self._counter, dedicated, protection=protection)

    async def hearing(self) -> Ciphering | None:
        """The keys for what the meter sends unasked: never used to send, with counters of their own."""
        if self._keys is None:
            return None
        protection = await protection_of(self._config)
        return Ciphering(self._config.title(self._name), *self._keys, Counter(1, 0), protection=protection)

    def follow(self, error: ServiceError, link: Link) -> bool:
        """Follows a meter that wants a higher counter, if that is the error; whether the counter was moved."""
        if error.service_error != INVOCATION_COUNTER_ERROR:
            return False
        link.count("counter_errors")
        if self._counter is None or error.expected_counter is None:
            return False
        # Some name the last counter they saw, some the next they expect.
        moved = self._counter.forward(error.expected_counter + 1)
        if moved:
            link.event("counter", f"Meter {self._name} wanted a higher invocation counter; moved forward")
        return moved


def _octets(secret: SecretStr) -> bytes:
    return bytes.fromhex(secret.get_secret_value())
