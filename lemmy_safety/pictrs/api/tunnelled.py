"""Sends HTTP requests through a tunnel; the server sees no difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from lemmy_safety.pictrs.tunnel import HOST

if TYPE_CHECKING:
    from lemmy_safety.pictrs.tunnel import Tunnel


class Tunnelled(httpx.AsyncBaseTransport):
    """Connects to the tunnel's port. The header Host and the name in certificates stay those of the URL."""

    def __init__(self, inner: httpx.AsyncBaseTransport, tunnel: Tunnel) -> None:
        self._inner = inner
        self._tunnel = tunnel

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host=HOST, port=self._tunnel.port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
