"""Endpoints of the server: security policies, modes and user tokens that clients may choose of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
    SecurityPolicyFactory,
    SecurityPolicyNone,
)

from address_space.opcua.security import ApplicationIdentity
from address_space.opcua.trust_check import to_der
from address_space.opcua.untyped import ua

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

_POLICIES: dict[str, Any] = {
    "Aes256_Sha256_RsaPss": SecurityPolicyAes256Sha256RsaPss,
    "Aes128_Sha256_RsaOaep": SecurityPolicyAes128Sha256RsaOaep,
    "Basic256Sha256": SecurityPolicyBasic256Sha256,
}
POLICY_OF_URI: dict[str, Any] = {str(policy.URI): policy for policy in _POLICIES.values()}
"""Security policy URI -> asyncua's policy class, of those that sign and encrypt."""
_MODES = {
    "None": ua.MessageSecurityMode.None_,
    "Sign": ua.MessageSecurityMode.Sign,
    "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
_LEVELS = {"None": 0, "Sign": 60, "SignAndEncrypt": 120}
_TRANSPORT = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
_TOKENS_ON_NONE = "Basic256Sha256"
"""Where the channel has no security the tokens have their own (Part 4, 7.41)."""


@dataclass(frozen=True, slots=True)
class Application:
    """What endpoints say of the server: ApplicationUri, ProductUri, name, EndpointUrl."""

    uri: str
    product_uri: str
    name: str
    url: str


def offer(internal: InternalServer, identity: ApplicationIdentity) -> None:
    """Offer the endpoints of the settings with this certificate, instead of those offered before."""
    settings = internal.settings
    internal.identity = identity
    internal.certificate, internal.private_key = identity.certificate, identity.key
    internal.certificate_der = to_der(identity.certificate)
    internal.certificate_chain = b"".join(to_der(each) for each in (identity.certificate, *identity.issuers))
    internal.endpoints.clear()
    policies: list[SecurityPolicyFactory] = []
    offered: set[tuple[str, int]] = set()
    for mode in settings.modes():
        names = ("None",) if mode == "None" else settings.policies
        for rank, name in enumerate(names):
            policy: Any = SecurityPolicyNone if name == "None" else _POLICIES[name]
            offered.add((str(policy.URI), int(_MODES[mode])))
            policies.append(
                SecurityPolicyFactory(  # type: ignore[no-untyped-call]  # asyncua
                    policy, _MODES[mode], identity.certificate, identity.key, certificate_chain=list(identity.issuers)
                )
            )
            endpoint = _endpoint(internal, mode, policy)
            endpoint.SecurityLevel = _LEVELS[mode] + len(names) - 1 - rank
            internal.add_endpoint(endpoint)
    internal.policies[:] = policies
    internal.offered_security = offered


def _endpoint(internal: InternalServer, mode: str, policy: Any) -> Any:
    application = internal.application
    told = ua.ApplicationDescription()
    told.ApplicationUri = application.uri
    told.ProductUri = application.product_uri
    told.ApplicationName = ua.LocalizedText(application.name)
    told.ApplicationType = ua.ApplicationType.Server
    told.DiscoveryUrls = [application.url]
    endpoint = ua.EndpointDescription()
    endpoint.EndpointUrl = application.url
    endpoint.Server = told
    endpoint.ServerCertificate = internal.certificate_chain
    endpoint.SecurityMode = _MODES[mode]
    endpoint.SecurityPolicyUri = policy.URI
    endpoint.UserIdentityTokens = token_policies(internal, mode, policy)
    endpoint.TransportProfileUri = _TRANSPORT
    return endpoint


def token_policies(internal: InternalServer, mode: str, policy: Any) -> list[Any]:
    """UserTokenPolicies of an endpoint: by the security policy of the endpoint, on None by one of their own."""
    access = internal.ports.policy
    tokens = []
    if access is None or access.anonymous("127.0.0.1" if internal.settings.loopback else "") is not None:
        tokens.append(_token("anonymous", ua.UserTokenType.Anonymous, ""))
    if access is not None:
        name = _TOKENS_ON_NONE if mode == "None" else str(policy.URI).rpartition("#")[2]
        uri = str(_POLICIES[name].URI)
        tokens.append(_token(f"username_{name}", ua.UserTokenType.UserName, uri))
        tokens.append(_token(f"certificate_{name}", ua.UserTokenType.Certificate, uri))
    return tokens


def token_policy_uri(policy_id: str, channel_uri: str) -> str:
    """Security policy URI of a user token by its PolicyId; that of the channel for an empty or unknown one."""
    policy = _POLICIES.get(policy_id.partition("_")[2])
    if policy is not None:
        return str(policy.URI)
    return channel_uri if channel_uri in POLICY_OF_URI else str(_POLICIES[_TOKENS_ON_NONE].URI)


def _token(policy_id: str, kind: Any, uri: str) -> Any:
    token = ua.UserTokenPolicy()
    token.PolicyId, token.TokenType = policy_id, kind
    if uri:
        token.SecurityPolicyUri = uri
    return token
