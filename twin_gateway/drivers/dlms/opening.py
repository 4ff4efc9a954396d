"""From what the mapping says of a meter to the association, its protection and where to connect."""

from __future__ import annotations

import asyncio

from twin_gateway.drivers.dlms.acse import Mechanism
from twin_gateway.drivers.dlms.association import Association, Limits
from twin_gateway.drivers.dlms.ciphering import Ciphering, Protection
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.hdlc import Address, Parameters
from twin_gateway.drivers.dlms.logical_names import LogicalNameAssociation
from twin_gateway.drivers.dlms.session import Framing, Peer
from twin_gateway.drivers.dlms.short_names import ShortNameAssociation
from twin_gateway.drivers.dlms.suite1 import Agreement, AgreementKeys, SigningKeys, load_private, load_public

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
