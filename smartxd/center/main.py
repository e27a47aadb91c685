"""``smartx-center``: serve the site, and enroll boxes, also while it is served."""
# ruff: noqa: T201 (a command prints its results)

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from smartxd import __version__
from smartxd.center import listen, site
from smartxd.center.config import SiteConfig, load
from smartxd.errors import SmartxError

CONCURRENT_MAX = 64
"""Requests at once; further ones are answered 503, and a box tries again."""
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
    listing = add("boxes", "list the boxes", "  smartx-center boxes\n  smartx-center boxes -o json")
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

    from smartxd.center import flowstore  # noqa: PLC0415
    from smartxd.center.flowstore.sqlite import SqliteFlowStore  # noqa: PLC0415
    from smartxd.center.guard import Guard  # noqa: PLC0415

    store = SqliteFlowStore(config.flows_database, config.retention_s)
    flowstore.use(store)
    # uvicorn raises the signal again when it is done; here that is the orderly end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(get_asgi_application(), config.allowed_hosts),
            lifespan="off",
            access_log=False,
            log_level="warning",
            limit_concurrency=CONCURRENT_MAX,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
        )
    )
    print("smartx-center: serving " + ", ".join(_url(s.getsockname()) for s in sockets), file=sys.stderr)
    server.run(sockets=sockets)
    store.close()
    return 0


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
    from smartxd.center.models import Box  # noqa: PLC0415

    rows = [
        {
            "box": box.name,
            "ready": box.ready,
            "commit": box.commit,
            "last_contact": box.last_contact.isoformat(timespec="seconds") if box.last_contact else None,
        }
        for box in Box.objects.all()
    ]
    if args.output == "json":
        print(json.dumps(rows, indent=1))
        return 0
    print(f"{'BOX':<20} {'READY':<6} {'COMMIT':<12} LAST CONTACT")
    for row in rows:
        ready = "yes" if row["ready"] else "no"
        print(f"{row['box']:<20} {ready:<6} {row['commit'][:12] or '-':<12} {row['last_contact'] or 'never'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
