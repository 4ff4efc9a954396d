"""What `coap_directory:` of the gateway's configuration may say."""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DirectorySettings(BaseModel):
    """The resource directory that CoAP and LwM2M devices register at; there is none without this section.

    Registrations are not protected: whoever can send to the port can register a free name. So the directory listens on
    loopback, unless the network it listens on is said to be a separate one. What registered devices deliver is
    protected by their own `oscore:`.

    Attributes:
        host, port: where to listen.
        separate_network: listen on the network although registrations are not protected.
        max_endpoints, max_endpoints_per_address: most registrations at a time, and most of one address. Endpoints that
            a mapping names always have a place.
        rate: requests a second taken from one address.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=5683, ge=0, le=65_535)
    separate_network: bool = False
    max_endpoints: int = Field(default=1_000, ge=1, le=100_000)
    max_endpoints_per_address: int = Field(default=100, ge=1, le=100_000)
    rate: int = Field(default=20, ge=1, le=10_000)

    @model_validator(mode="after")
    def _protected(self) -> DirectorySettings:
        try:
            local = self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            local = False
        if not local and not self.separate_network:
            raise ValueError(
                f"{self.host} is not loopback and registrations are not protected; "
                "say separate_network: true where only your devices can send to it"
            )
        return self
