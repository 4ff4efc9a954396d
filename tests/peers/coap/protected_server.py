"""A CoAP server with OSCORE: aiocoap's, whose server half shares no code with the driver's use of its context.

    python protected_server.py PORT FOLDER [restarted]

FOLDER holds aiocoap's own context files. `/value` can be observed and counts up every 0.2 s, `/plain` is not protected,
`/large` is 3 000 octets, `/echo` takes a PUT. With `restarted` the server does not know which numbers it has seen and
asks for an Echo (RFC 8613 appendix B.1.2).
"""

import asyncio
import json
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

# aiocoap's server part imports the library of its key exchange, which takes no part with contexts agreed beforehand.
sys.modules.setdefault("lakers", MagicMock(spec=types.ModuleType))

import aiocoap  # noqa: E402 - as above
from aiocoap import credentials, oscore, oscore_sitewrapper, resource  # noqa: E402


class Value(resource.ObservableResource):  # type: ignore[misc]  # aiocoap has no types
    def __init__(self) -> None:
        super().__init__()
        self.value = 0
        self._task = asyncio.create_task(self._count())

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            self.value += 1
            self.updated_state()

    async def render_get(self, _request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=str(self.value).encode(), content_format=0, max_age=60)


class Large(resource.Resource):  # type: ignore[misc]  # aiocoap has no types
    async def render_get(self, _request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=b"x" * 3000, content_format=0, max_age=60)


class Echo(resource.Resource):  # type: ignore[misc]  # aiocoap has no types
    body = b"0"

    async def render_get(self, _request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=self.body, content_format=0, max_age=60)

    async def render_put(self, request: aiocoap.Message) -> aiocoap.Message:
        self.body = request.payload
        return aiocoap.Message(code=aiocoap.CHANGED)


async def main(port: int, folder: Path, restarted: bool) -> None:
    site = resource.Site()
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader))
    site.add_resource(["value"], Value())
    site.add_resource(["large"], Large())
    site.add_resource(["echo"], Echo())
    context = oscore.FilesystemSecurityContext(str(folder))
    if restarted:
        context.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
    known = credentials.CredentialsMap()
    known[":gateway"] = context
    wrapped = oscore_sitewrapper.OscoreSiteWrapper(site, known)
    server = await aiocoap.Context.create_server_context(
        wrapped, bind=("127.0.0.1", port), transports=["simplesocketserver"]
    )
    server.server_credentials = known
    print(json.dumps({"port": port}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), "restarted" in sys.argv[3:]))
