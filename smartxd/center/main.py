"""``smartx-center``: serve the site, and enroll boxes, also while it is served."""
# ruff: noqa: T201 (a command prints its results)

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from smartxd import __version__
from smartxd.center import listen, site
from smartxd.center.config import SiteConfig, load
from smartxd.errors import SmartxError, StoreError
from smartxd.tables import print_json, print_table

if TYPE_CHECKING:
    from smartxd.center.flowstore import FlowStore

CONNECTIONS_MAX = 4096
"""Open at once, idle ones included: a box keeps one, a browser a few. guard.py bounds what they ask for."""
EXPIRE_INTERVAL_S = 600
GRACE_S = 5


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="smartx-center", description="The centre: takes captures and reports of boxes, and shows them."
    )
    top.add_argument("--version", action="version", version=f"smartx-center {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help="center.toml")
    common.add_argument("--data-dir", type=Path, metavar="DIR", help="SQLite files and the secret key")

    def add(name: str, text: str, examples: str) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name,
            help=text,
            description=f"{text[:1].upper()}{text[1:]}.",
            epilog=f"examples:\n{examples}",
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    serve = add(
        "serve",
        "serve the site until SIGTERM; whoever reaches the address may read, enrolled boxes write",
        "  smartx-center serve\n  smartx-center serve --data-dir /srv/center --listen 192.0.2.10:8080",
    )
    serve.add_argument(
        "--listen", metavar="HOST:PORT", help="default 127.0.0.1:8080, or the sockets that systemd hands over"
    )
    serve.set_defaults(run=_serve)
    add("migrate", "bring the databases up to date, as serve does", "  smartx-center migrate").set_defaults(
        run=_migrate
    )
    enroll = add(
        "enroll",
        "make a box known and print its token, once",
        "  smartx-center enroll gist1 > gist1.token\n  smartx-center enroll gist1 --rotate",
    )
    enroll.add_argument("box", metavar="BOX", help="the name of its Box spec")
    enroll.add_argument("--rotate", action="store_true", help="give an enrolled box another token")
    enroll.set_defaults(run=_enroll)
    listing = add(
        "boxes",
        "list the boxes; Quiet is one not heard of for three of its report intervals",
        "  smartx-center boxes\n  smartx-center boxes -o json",
    )
    listing.add_argument("-o", "--output", choices=("table", "json"), default="table")
    listing.set_defaults(run=_boxes)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb: 0 done, 1 a failure, 2 wrong usage."""
    args = parser().parse_args(argv)
    try:
        flags = {"data_dir": args.data_dir, "listen": getattr(args, "listen", None)}
        config = load(args.config, flags)
        return int(args.run(args, config))
    except SmartxError as err:
        print(f"error: {err.message}", file=sys.stderr)
        if err.hint:
            print(f"hint: {err.hint}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(_: argparse.Namespace, config: SiteConfig) -> int:
    sockets = listen.inherited(os.environ)
    if not sockets or "listen" in config.model_fields_set:
        sockets.insert(0, listen.bind(*config.address))
    site.configure(config)
    site.migrate()

    # Only now that Django is set up can the site's own modules be imported.
    import uvicorn  # noqa: PLC0415
    from django.core.asgi import get_asgi_application  # noqa: PLC0415

    from smartxd.center import boxes, flowstore  # noqa: PLC0415
    from smartxd.center.connection import Connection  # noqa: PLC0415
    from smartxd.center.flowstore.sqlite import SqliteFlowStore  # noqa: PLC0415
    from smartxd.center.guard import Guard  # noqa: PLC0415

    store = SqliteFlowStore(config.flows_database, config.retention_s)
    flowstore.use(store)
    # uvicorn raises the signal again when it is done; here that is the orderly end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(get_asgi_application(), config.allowed_hosts, boxes.sender_of),
            http=Connection,
            lifespan="off",
            access_log=False,
            log_level="warning",
            limit_concurrency=_connections(),
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
        )
    )
    print("smartx-center: serving " + ", ".join(_url(s.getsockname()) for s in sockets), file=sys.stderr)
    stop = threading.Event()
    expiry = threading.Thread(target=_expire, args=(store, stop), name="expiry")
    expiry.start()
    try:
        server.run(sockets=sockets)
    finally:
        stop.set()
        expiry.join()
        store.close()
    return 0


def _connections() -> int:
    """CONNECTIONS_MAX, or what the limit of open files leaves beside the site's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
        soft = max(soft, min(hard, 2 * CONNECTIONS_MAX))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(CONNECTIONS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def _expire(store: FlowStore, stop: threading.Event) -> None:
    while not stop.is_set():
        more = False
        try:
            more = store.expire()
        except StoreError as err:
            print(f"smartx-center: {err.line}", file=sys.stderr)
        stop.wait(0.1 if more else EXPIRE_INTERVAL_S)


def _url(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _migrate(_: argparse.Namespace, config: SiteConfig) -> int:
    site.configure(config)
    site.migrate()
    return 0


def _enroll(args: argparse.Namespace, config: SiteConfig) -> int:
    site.configure(config)
    site.migrate()
    from smartxd.center import boxes  # noqa: PLC0415

    print(boxes.enroll(args.box, rotate=args.rotate))
    return 0


def _boxes(args: argparse.Namespace, config: SiteConfig) -> int:
    site.configure(config)
    site.migrate()
    from smartxd.center import boxes  # noqa: PLC0415
    from smartxd.center.models import Box  # noqa: PLC0415

    now = datetime.now(UTC)
    rows = [
        {
            "box": box.name,
            "state": boxes.state(box, boxes.report_of(box), now),
            "ready": box.ready,
            "commit": box.commit,
            "last_contact": box.last_contact.isoformat(timespec="seconds") if box.last_contact else None,
        }
        for box in Box.objects.all()
    ]
    if args.output == "json":
        print_json(rows)
        return 0
    cells = [(r["box"], r["state"], r["commit"][:12] or "-", r["last_contact"] or "never") for r in rows]
    print_table(("BOX", "STATE", "COMMIT", "LAST CONTACT"), cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())
