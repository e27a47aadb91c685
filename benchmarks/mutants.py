"""Specs as an operator, a merge, a program or somebody who means harm mangles them, by a seed."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmarks import gentle
from smartxd.source import folder

ROOT = Path(__file__).parents[1]
GENTLE = 0.2
"""Of the mutants, those that are mostly right: what is derived of specs is exercised too."""
ORIGINS = ("examples/*", "specs/reference", "tests/specs/right/*", "tests/specs/bad/*")

STRANGE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 100, 4095, 65536, 1 << 32, 1 << 70, 1.5, -0.0, 1e308),
    *(float("inf"), float("nan"), [], {}, [[]], {"a": {}}, [None], [1, "x", {}], {"": 1}),
    *(
        "",
        "x",
        "x" * 300,
        "x" * 70_000,
        "a\nb",
        "a\0b",
        "a\x1b[2J",
        "\u2028",
        "\u202e",
        "é",
        "\U0001f600",
        "٣",
    ),
    *(
        "auto",
        "100",
        "1.10",
        "65001:1",
        "rt 65001:1",
        "no-export",
        "_65001_",
        "((a*)*)*",
        "[[a]",
        "(?i)a",
        "\\",
    ),
    *("lo", "all", "default", "wan0", "mgmt0", "vx100", "br100", "*", "tap*", "?", ".", "..", "../../etc"),
    *("0.0.0.0", "127.0.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255", "10.10.0.1", "10.10.0.1/24"),
    *(
        "10.10.0.0/24",
        "10.10.0.1/0",
        "0.0.0.0/0",
        "::/0",
        "::1",
        "fe80::1%wan0",
        "::ffff:10.0.0.1",
        "ff02::1",
    ),
    *("2001:db8::1/64", "203.0.113.1", "203.0.113.2/24", "203.0.113.2/32", "10.255.0.1", "02:00:00:00:00:01"),
    *(
        "gist1",
        "gist2",
        "gist3",
        "koren-l2",
        "campus",
        "ours",
        "Box",
        "Tunnel",
        "RouteMap",
        "__proto__",
        "%x",
    ),
    *("udp port 4789", "port http", "host a", "(" * 40, "not " * 200 + "ip", "tcp[tcpflags] & tcp-syn != 0"),
    *("multicast", "static", "evpn", "hash", "packets", "permit", "deny", "external", "l2vpnEvpn", "next"),
)
"""Values that are odd, or right somewhere else."""

JUNK = (
    *(
        "\t",
        "\0",
        "\ufeff",
        "\r\n",
        "\u2028",
        "\x85",
        "---\n",
        "...\n",
        "%TAG ! x:\n",
        "%YAML 1.2\n",
        "!!python/x ",
    ),
    *(
        "&a ",
        "*a ",
        "&a [*a]",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "? ",
        "- ",
        "#",
        "'",
        '"',
        '"\\ud800"',
        "|\n",
        ">\n",
        "<<: ",
    ),
    *("!!binary ", "2026-11-22", "0x1f", "0o17", "1_000", "yes", "~", "=", "@", "`", "\x7f", "\udcff"),
)
"""Pieces of text that mean something to YAML."""


@cache
def origins() -> tuple[tuple[str, ...], ...]:
    """The texts of the files of each repo that mutants are made of."""
    folders = [path for pattern in ORIGINS for path in sorted(ROOT.glob(pattern)) if path.is_dir()]
    contents = [folder.read(path).values() for path in folders]
    return tuple(tuple(c.decode() for c in files if isinstance(c, bytes)) for files in contents)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mangled repo."""

    files: dict[str, bytes]
    documents: int
    """How many of its documents are not as they were."""


def repo(rng: random.Random) -> Mutant:
    """One repo changed gently; or one, or pieces of two, with changes in structure or text."""
    if rng.random() < GENTLE:
        kept, changed = gentle.repo(rng)
        return Mutant({f"{i}.yaml": text.encode() for i, text in enumerate(kept)}, changed)
    texts = list(rng.choice(origins()))
    if rng.random() < 0.3:
        texts += rng.sample(rng.choice(origins()), 1)
    everywhere = rng.random() < 0.4
    made = [
        _remade(text, rng, everywhere=everywhere) if rng.random() < 0.8 else _cut(text, rng) for text in texts
    ]
    contents = (text.encode("utf-8", "surrogateescape") for text, _ in made)
    return Mutant({f"{i}.yaml": content for i, content in enumerate(contents)}, sum(n for _, n in made))


def _cut(text: str, rng: random.Random) -> tuple[str, int]:
    return mangled(text, rng), 1


def _remade(text: str, rng: random.Random, *, everywhere: bool) -> tuple[str, int]:
    """The documents of a text with a few values changed, and how many are; else the text, mangled."""
    try:
        documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, ValueError):
        return _cut(text, rng)
    before = copy.deepcopy(documents)
    if everywhere:
        for document in documents:
            if places(document):
                mutate(document, rng)
    else:
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            if places(documents):
                mutate(documents, rng)
    try:
        dumped = yaml.dump_all(documents, Dumper=yaml.CSafeDumper, allow_unicode=rng.random() < 0.5)
    except yaml.YAMLError:
        return _cut(text, rng)
    changed = sum(document not in before for document in documents)
    return str(dumped), max(changed, len(before) - len(documents))


def places(node: Any) -> list[tuple[Any, Any]]:
    """Each value inside, as its container and its key there."""
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, child in list(steps) for place in ((node, key), *places(child))]


def mutate(documents: Any, rng: random.Random) -> None:
    """Change one value of the documents, in place."""
    container, key = rng.choice(places(documents))
    match rng.randrange(8):
        case 0:
            del container[key]
        case 1 | 2:
            container[key] = copy.deepcopy(rng.choice(STRANGE))
        case 3 | 4:  # a value from elsewhere: often well-formed, and taken already
            other, at = rng.choice(places(documents))
            container[key] = copy.deepcopy(other[at])
        case 5:
            container[key] = str(container[key]) if rng.random() < 0.5 else [container[key]]
        case 6 if isinstance(container, dict):  # a key with a slip in it
            name = str(key)
            at = rng.randrange(len(name) + 1)
            container[name[:at] + rng.choice("aezZ0-_. ") + name[at + 1 :]] = container.pop(key)
        case _:  # once more, under another name
            again = copy.deepcopy(container[key])
            if isinstance(container, list):
                container.append(again)
            else:
                container[str(rng.choice(STRANGE))[:100]] = again


def mangled(text: str, rng: random.Random) -> str:
    """A text with characters lost, doubled, swapped, or put in."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.choice((1, 1, 3, 20, 200)))
        match rng.randrange(5):
            case 0:
                text = text[:at] + text[to:]
            case 1:
                text = text[:at] + text[at:to] * rng.choice((2, 3, 50)) + text[to:]
            case 2:
                text = text[:at] + rng.choice(JUNK) * rng.choice((1, 1, 1, 100, 3000)) + text[at:]
            case 3:
                text = text[:at] + _text(rng.choice(STRANGE)) + text[to:]
            case _:
                text = text[at:] + text[:at]
    return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def of_seed(seed: int, number: int) -> Mutant:
    """The mutant of a number in the run of a seed."""
    return repo(random.Random(f"{seed}/{number}"))
