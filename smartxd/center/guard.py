"""What stands before Django: who may send, and bounds on bodies, on their time and on requests at once."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from smartxd.sync.protocol import BODY_MAX

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
SenderOf = Callable[[str, str], str | None]

BODY_TIMEOUT_S = 60.0
"""Bound on the time that a client may take to send its whole body."""
BODIES_MAX = 4 * BODY_MAX
"""Bytes of bodies at once. A body is in memory up to three times while Django takes it over."""
BODY_LEAST = 256 << 10
"""What a body counts for at least, which bounds their number too."""
ANSWERS_MAX = 64 << 20
"""Bytes of answers that wait for slow readers."""
ANSWER_TIMEOUT_S = 30.0
_BUFFERED = 64 << 10
"""An answer of so many bytes goes out without waiting for its reader."""
LINGER_S = 5.0
"""How long a refused body is read on, and dropped: a client cut off while it sends reads no answer."""
READS_MAX = 8
"""Pages and queries at once."""
WAIT_MAX_S = 5.0
"""How long a request waits for its turn; then it is answered 503, and a box tries again."""
_READS = ("GET", "HEAD", "OPTIONS")


class _Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class _Budget:
    """So much of something; whoever takes part of it waits until there is as much."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._returned = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def take(self, count: int) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_MAX_S), self._returned:
                await self._returned.wait_for(lambda: self._left >= count)
                self._left -= count
        except TimeoutError:
            raise _Refused(503, f"no turn within {WAIT_MAX_S:g} s; try again") from None
        try:
            yield
        finally:
            self._left += count
            async with self._returned:
                self._returned.notify_all()


class Guard:
    """An ASGI application around the site's; ``sender_of`` tells a path's box from the token, or None."""

    def __init__(self, app: App, allowed_hosts: Iterable[str], sender_of: SenderOf) -> None:
        self._app = app
        self._hosts = {"localhost", socket.gethostname().lower(), *(h.lower() for h in allowed_hosts)}
        self._sender_of = sender_of
        self._reads = _Budget(READS_MAX)
        self._bodies = _Budget(BODIES_MAX)
        self._answers = _Budget(ANSWERS_MAX)
        # One body of a box at a time, so that no box takes the others' turns. Only enrolled boxes come here.
        self._turns: defaultdict[str, _Budget] = defaultdict(lambda: _Budget(1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it before Django reads it."""
        if scope["type"] != "http":
            return
        try:
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
            self._check_host(headers.get("host", ""))
            if scope["method"] in _READS:
                nothing = await _body(receive, 0)
                async with self._reads.take(1):
                    answer = await self._ask(scope, nothing, receive)
            else:
                length = _length(headers, BODY_MAX)
                box = await self._sender(scope["path"], headers)
                async with self._turns[box].take(1), self._bodies.take(max(BODY_LEAST, length)):
                    answer = await self._ask(scope, await _body(receive, length), receive)
            await self._deliver(answer, send)
        except _Refused as refused:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await _drop(receive)
            await _answer(send, refused)

    async def _sender(self, path: str, headers: dict[str, str]) -> str:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        box = await asyncio.to_thread(self._sender_of, path, token) if scheme.lower() == "bearer" else None
        if box is None:
            raise _Refused(401, "only an enrolled box may send, with its token, and to its own addresses")
        return box

    async def _ask(self, scope: Scope, body: bytes | None, receive: Receive) -> list[Message]:
        """The whole answer, so that a slow reader does not keep its turn; nothing when the client left."""
        answer: list[Message] = []
        if body is None:
            return answer
        first = [{"type": "http.request", "body": body, "more_body": False}]
        del body

        async def replay() -> Message:
            return first.pop() if first else await receive()

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, replay, keep)
        return answer

    async def _deliver(self, answer: list[Message], send: Send) -> None:
        size = sum(len(message.get("body", b"")) for message in answer)
        async with self._answers.take(size if size > _BUFFERED else 0):
            with contextlib.suppress(TimeoutError):  # uvicorn closes what is not complete
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    for message in answer:
                        await send(message)

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


def _length(headers: dict[str, str], bound: int) -> int:
    """What the body may come to: as much as it claims, or the bound where it claims nothing."""
    claimed = headers.get("content-length", "")
    length = int(claimed) if claimed.isdecimal() and len(claimed) < 20 else bound
    if length > bound:
        raise _too_large(bound)
    return length


def _too_large(bound: int) -> _Refused:
    return _Refused(413, f"the body is larger than {bound} bytes")


async def _body(receive: Receive, bound: int) -> bytes | None:
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > bound:
                    raise _too_large(bound)
                more = message.get("more_body", False)
    except TimeoutError:
        raise _Refused(408, f"the body did not come within {BODY_TIMEOUT_S:g} s") from None
    return bytes(body)


async def _drop(receive: Receive) -> None:
    length, more = 0, True
    while more and length <= BODY_MAX:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)


async def _answer(send: Send, refused: _Refused) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # What is left of the request's body is not read: the connection ends with the answer.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
