"""The one rtnetlink socket of the plane: requests with their acknowledgements, and dumps."""

from __future__ import annotations

import struct
import threading
from collections.abc import Collection, Sequence

from pyroute2.netlink.rtnl.iprsocket import IPRSocket

from smartxd.errors import PlaneError
from smartxd.planes.kernel import decode

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWNETCONF, RTM_GETNETCONF = 80, 82
RTM_GETNSID = 90
RTM_NEWVLAN, RTM_DELVLAN, RTM_GETVLAN = 112, 113, 114

_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
CHANGE = _REQUEST | _ACK
CREATE = _REQUEST | _ACK | _CREATE | _EXCL

TIMEOUT_S = 30.0
"""For one answer. Others may hold the kernel's RTNL lock for seconds while they delete thousands of links."""
_RECEIVE_BYTES = 1 << 17
_DUMP_TRIES = 8
WINDOW = 64
"""Changes on their way at once: their answers fit into a socket's smallest buffer."""
_QUESTIONS = 32
"""Questions on their way at once: an answer about a link takes some 2 kB of the buffer."""
_HEADER = struct.Struct("=IHHII")
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12


class Rtnl:
    """An open socket in the network namespace of the thread that makes it; any thread may use it."""

    def __init__(self, window: int = WINDOW) -> None:
        """At most ``window`` changes are on their way at once."""
        self._window = window
        self._socket = IPRSocket(ext_ack=True)
        self._socket.bind(groups=0)
        self._socket.socket.settimeout(TIMEOUT_S)
        # Dumps are of what is asked for only: one link's addresses, one protocol's routes.
        self._socket.socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        self._lock = threading.Lock()
        self._sequence = 0

    def close(self) -> None:
        """Give the socket back; it cannot be used again."""
        self._socket.close()

    def get(self, type_: int, body: bytes) -> bytes:
        """The one object that ``body`` asks for; OSError when there is none."""
        with self._lock:
            self._send(type_, body, _REQUEST)
            payloads, _ = self._answer(acknowledged=False)
            return payloads[0]

    def change(self, type_: int, body: bytes) -> None:
        """Have the kernel change what ``body`` says; OSError carries its reason."""
        with self._lock:
            self._send(type_, body, CHANGE)
            self._answer(acknowledged=True)

    def gets(self, type_: int, bodies: Sequence[bytes]) -> list[bytes | None]:
        """The one object that each of ``bodies`` asks for, None where there is none; many at once."""
        found: list[bytes | None] = []
        with self._lock:
            for start in range(0, len(bodies), _QUESTIONS):
                window = bodies[start : start + _QUESTIONS]
                first = self._sequence + 1
                self._socket.socket.send(b"".join(self._packed(type_, body, _REQUEST) for body in window))
                found += self._answered(range(first, first + len(window)))
        return found

    def batch(self, changes: Sequence[tuple[int, int, bytes]]) -> list[OSError | None]:
        """Have the kernel make several changes (type, flags, body), in order.

        Returns why it refused each, None where it did not. Many are on their way at once; a refusal does not
        stop those behind it.
        """
        refusals: list[OSError | None] = []
        with self._lock:
            for start in range(0, len(changes), self._window):
                window = changes[start : start + self._window]
                first = self._sequence + 1
                self._socket.socket.send(b"".join(self._packed(t, body, flags) for t, flags, body in window))
                refusals += self._acknowledged(range(first, first + len(window)))
        return refusals

    def _answered(self, sequences: range) -> list[bytes | None]:
        """The kernel's answers to questions, in their order."""
        answers: dict[int, bytes | None] = {}
        while len(answers) < len(sequences):
            for message in decode.messages(self._receive()):
                if message.sequence in sequences:
                    refused = message.type == decode.NLMSG_ERROR
                    answers[message.sequence] = None if refused else message.payload
        return [answers[sequence] for sequence in sequences]

    def _acknowledged(self, sequences: range) -> list[OSError | None]:
        """The kernel's answers to changes, in their order; it answers in that order too."""
        answers: dict[int, OSError | None] = {}
        while len(answers) < len(sequences):
            for message in decode.messages(self._receive()):
                if message.sequence in sequences and message.type == decode.NLMSG_ERROR:
                    answers[message.sequence] = decode.error(message)
        return [answers[sequence] for sequence in sequences]

    def dump(self, type_: int, body: bytes, *, none_if: Collection[int] = ()) -> list[bytes]:
        """All objects of a family, a payload each; PlaneError where they cannot be had.

        ``none_if`` are the kernel's errors that mean that there is none.

        What changes while it is dumped makes the dump inconsistent: then it is asked for again, a few times.
        It is never taken as it is: an object that it lacks would pass for one that is gone.
        """
        with self._lock:
            for _ in range(_DUMP_TRIES):
                try:
                    self._send(type_, body, _REQUEST | _DUMP)
                    payloads, interrupted = self._answer(acknowledged=False)
                except OSError as err:
                    if err.errno in none_if:
                        return []
                    raise PlaneError(
                        "KernelRefused",
                        f"the kernel does not say what there is: {err.strerror or err}",
                        "it is tried again; `dmesg` may say why",
                    ) from err
                if not interrupted:
                    return payloads
        raise PlaneError(
            "KernelBusy",
            f"the network of the box changed during each of {_DUMP_TRIES} looks at it",
            "it is tried again; `ip monitor` shows what changes",
        )

    def _send(self, type_: int, body: bytes, flags: int) -> None:
        self._socket.socket.send(self._packed(type_, body, flags))

    def _packed(self, type_: int, body: bytes, flags: int) -> bytes:
        """The next message, filled up to a multiple of four bytes."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), type_, flags, self._sequence, 0)
        return header + body + b"\0" * (-len(body) % 4)

    def _answer(self, *, acknowledged: bool) -> tuple[list[bytes], bool]:
        payloads: list[bytes] = []
        interrupted = False
        while True:
            for message in decode.messages(self._receive()):
                if message.sequence != self._sequence:
                    continue  # The late answer to a request that timed out.
                interrupted = interrupted or bool(message.flags & decode.NLM_F_DUMP_INTR)
                if message.type in (decode.NLMSG_ERROR, decode.NLMSG_DONE):
                    if refusal := decode.error(message):
                        raise refusal
                    return payloads, interrupted
                payloads.append(message.payload)
                if not acknowledged and not message.flags & decode.NLM_F_MULTI:
                    return payloads, interrupted

    def _receive(self) -> bytes:
        try:
            return bytes(self._socket.socket.recv(_RECEIVE_BYTES))
        except TimeoutError as err:
            raise PlaneError(
                "KernelSilent",
                f"the kernel has not answered on rtnetlink for {TIMEOUT_S:.0f} s",
                "another program may hold the RTNL lock: `cat /proc/locks` and `dmesg` may say which",
            ) from err
