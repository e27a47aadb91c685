"""Frames of many flows, as fast as they can be sent."""

from __future__ import annotations

import threading

import trace_frames as f
from trace_box import Box


def flow(number: int, size: int = 0) -> bytes:
    """A frame of a flow of its own."""
    return f.ethernet(0x0800, f.ip4(17, f.udp(1 + number % 60000, 1 + number // 60000, bytes(size))))


class Traffic(threading.Thread):
    """Sends frames of many flows as fast as it can, until told to end."""

    def __init__(self, box: Box) -> None:
        super().__init__()
        self._box = box
        self._end = threading.Event()
        self.sent = 0

    def run(self) -> None:
        frames = [flow(n, n % 97) for n in range(997)]
        with self._box.packet_socket("peer") as sending:
            while not self._end.is_set():
                for frame in frames:
                    sending.send(frame)
                self.sent += len(frames)

    def end(self) -> None:
        self._end.set()
        self.join()
