"""What stands before Django: bounds on a request's body and time, and on the names the site answers to."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from smartxd.sync.protocol import BODY_MAX

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_TIMEOUT_S = 60.0
"""Bound on the time that a client may take to send its whole body."""


class _Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Guard:
    """An ASGI application around the site's."""

    def __init__(self, app: App, allowed_hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = {"localhost", socket.gethostname().lower(), *(h.lower() for h in allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it before Django reads it."""
        if scope["type"] != "http":
            return
        try:
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
            self._check_host(headers.get("host", ""))
            body = await _body(headers, receive)
        except _Refused as refused:
            await _answer(send, refused)
            return
        if body is None:
            return  # the client went away

        told = False

        async def replay() -> MutableMapping[str, Any]:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    def _check_host(self, host: str) -> None:
        """Refuse a name that is not ours: another site's page must not read this one by DNS rebinding."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower()
        if name in self._hosts:
            return
        try:
            ipaddress.ip_address(name)
        except ValueError:
            raise _Refused(400, f"unknown host {name!r}: add it to allowed_hosts of the centre") from None


async def _body(headers: dict[str, str], receive: Receive) -> bytes | None:
    too_large = _Refused(413, f"the body is larger than {BODY_MAX} bytes")
    if headers.get("content-length", "0").isdecimal() and int(headers.get("content-length", "0")) > BODY_MAX:
        raise too_large
    parts: list[bytes] = []
    length, more = 0, True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                parts.append(message.get("body", b""))
                length += len(parts[-1])
                if length > BODY_MAX:
                    raise too_large
                more = message.get("more_body", False)
    except TimeoutError:
        raise _Refused(408, f"the body did not come within {BODY_TIMEOUT_S:g} s") from None
    return b"".join(parts)


async def _answer(send: Send, refused: _Refused) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # What is left of the request's body is not read: the connection ends with the answer.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
