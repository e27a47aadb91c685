"""Drains one policy over and over into a store; dies at a point, the first time it is reached. Run by a test.

Arguments: manifest, store directory, point ("" to go on), rounds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from smartxd.capture.drain import Drain, PacketDrain
from smartxd.capture.maps import GracePeriod, PolicyMaps
from smartxd.capture.ring import Ring
from smartxd.config import CaptureConfig
from smartxd.manifest import Manifest
from smartxd.store.captures import CaptureStore


def main() -> None:
    manifest, directory, point, rounds = sys.argv[1:]
    (policy,) = Manifest.read(Path(manifest)).policies

    def reached(where: str) -> None:
        if where == point:
            os._exit(9)

    with CaptureStore(Path(directory), CaptureConfig()) as store:
        drain = Drain(PolicyMaps(policy.pin_dir), store, GracePeriod(), reached=reached)
        packets = PacketDrain(Ring(policy.pin_dir), store, reached=reached)
        for _ in range(int(rounds)):
            drain.run(policy)
            packets.run(policy)


main()
