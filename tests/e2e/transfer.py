"""A transfer between two nodes that must arrive whole.

Of ``SMARTXD_TRANSFER_MB`` megabytes: 200, where the variable is not set.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.e2e.conftest import Site

TRANSFER_BYTES = int(os.environ.get("SMARTXD_TRANSFER_MB", "200")) << 20

RECEIVE = """
import socket, sys, zlib
with socket.create_server(("", 5001)) as server:
    server.settimeout(60)
    print("ready", flush=True)
    peer, _ = server.accept()
    count = check = 0
    while data := peer.recv(1 << 20):
        count += len(data)
        check = zlib.crc32(data, check)
print(count, check, flush=True)
"""

SEND = """
import os, socket, sys, zlib
left, check, chunk = int(sys.argv[2]), 0, os.urandom(1 << 20)
with socket.create_connection((sys.argv[1], 5001), timeout=60) as peer:
    while left:
        data = chunk[:left]
        peer.sendall(data)
        check = zlib.crc32(data, check)
        left -= len(data)
print(check)
"""


def transfer(site: Site, sender: str, receiver: str, address: str) -> None:
    """Send from one node to another; fails where fewer or other bytes arrive."""
    argv = site.lab.command_in(receiver, [sys.executable, "-c", RECEIVE])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as receiving:
        try:
            assert receiving.stdout is not None
            assert receiving.stdout.readline() == "ready\n"
            send = (sys.executable, "-c", SEND, address, str(TRANSFER_BYTES))
            sent = site.run(sender, *send, timeout_s=300).stdout.strip()
            assert receiving.stdout.readline().split() == [str(TRANSFER_BYTES), sent]
        finally:
            receiving.kill()
