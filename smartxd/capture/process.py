"""``smartxd capture``: drains the tracers into the store, and sends what is stored to the centre."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from smartxd.capture.tracing import Tracing
from smartxd.config import Config
from smartxd.errors import DaemonError, SmartxError, StoreError
from smartxd.manifest import Manifest
from smartxd.report import TracingReport
from smartxd.store.captures import CaptureStore, StoreLost

if TYPE_CHECKING:
    from smartxd.sync.sender import Sender

SENDER_RESTART_S = 30


def run(config: Config, stop: threading.Event) -> None:
    """Drain every ``drain_interval_s`` until ``stop`` is set, and then a last time.

    DaemonError when another process does so for this box; StoreError when the store cannot be opened;
    DaemonError when BPF cannot be used; StoreLost when the store must be opened anew. What else goes wrong
    later is one line on stderr, and tried again.
    """
    with _single(config), CaptureStore(config.captures_dir, config.capture, warn=_warn) as store:
        try:
            tracing = Tracing(store, _warn, config.secrets_dir)
        except OSError as err:
            raise DaemonError(f"BPF cannot be used: {err}", "run as root, on Linux 5.15 or newer") from err
        with _sending(config, store, stop) as wake, _readable(stop) as stopping:
            try:
                while not stop.is_set():
                    _round(config, store, tracing, wake)
                    _sweep(store, tracing)
                    tracing.attend(config.capture.drain_interval_s, stopping)
                _round(config, store, tracing, wake)
                _end_flows(store)
            finally:
                tracing.close()


def _round(config: Config, store: CaptureStore, tracing: Tracing, wake: Callable[[], None]) -> None:
    try:
        reports = tracing.drain(Manifest.read(config.manifest))
        found = TracingReport(tracers=reports, undrained=tracing.undrained)
        store.record_tracers(datetime.now(UTC), found)
    except StoreLost:
        raise
    except (SmartxError, OSError) as err:
        _warn(err.line if isinstance(err, SmartxError) else str(err))
        return
    wake()


def _sweep(store: CaptureStore, tracing: Tracing) -> None:
    try:
        store.sweep(tracing.retentions)
    except StoreLost:
        raise
    except StoreError as err:
        _warn(err.line)


def _end_flows(store: CaptureStore) -> None:
    """What goes on would end with the next process, which may never come."""
    try:
        store.end_flows_except(())
    except StoreError as err:
        _warn(err.line)


@contextmanager
def _readable(stop: threading.Event) -> Iterator[int]:
    """A descriptor that can be read once ``stop`` is set."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def tell() -> None:
        stop.wait()
        os.eventfd_write(fd, 1)

    teller = threading.Thread(target=tell, name="stop", daemon=True)
    teller.start()
    try:
        yield fd
    finally:
        stop.set()
        teller.join()
        os.close(fd)


@contextmanager
def _single(config: Config) -> Iterator[None]:
    """Hold the box's capture lock for the length of a ``with`` block."""
    path = config.state_dir / "capture.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise DaemonError(f"{path}: {err.strerror}", "state_dir must be writable; run as root") from err
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise DaemonError(
                f"another smartxd capture runs for box {config.box}: it holds {path}", "stop that one first"
            ) from err
        yield
    finally:
        os.close(fd)


@contextmanager
def _sending(config: Config, store: CaptureStore, stop: threading.Event) -> Iterator[Callable[[], None]]:
    """Run the sender in a thread; gives what tells it that there is something to send."""
    if config.center is None:
        yield lambda: None
        return
    from smartxd.sync.sender import Sender  # noqa: PLC0415 (half of the memory, where there is no centre)

    sender = Sender(config, config.captures_dir, store.suspect)
    thread = threading.Thread(target=_send, args=(sender, stop), name="sync")
    thread.start()
    try:
        yield sender.wake
    finally:
        stop.set()
        sender.wake()
        thread.join(timeout=2 * config.center.timeout_s)


def _send(sender: Sender, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            sender.run(stop)
        except Exception as err:  # noqa: BLE001 (the edge of a thread: capture goes on without it)
            _warn(f"sync stopped and starts again in {SENDER_RESTART_S} s: {type(err).__name__}: {err}")
            stop.wait(SENDER_RESTART_S)


def _warn(line: str) -> None:
    sys.stderr.write(f"smartxd capture: {' '.join(line.split())}\n")
    sys.stderr.flush()
