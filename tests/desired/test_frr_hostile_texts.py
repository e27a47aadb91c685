"""Whatever stands in a field of a spec says no more in FRR's configuration than the line that it is for.

The references show every field of every kind, and are one right repo (test_schema.py holds both): each value
and each name of theirs is replaced by each hostile text, so that a field that is added later is tried too.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from smartxd.desired.frr import lower
from smartxd.planes.frr import render
from smartxd.planes.frr.delta import Delta
from smartxd.planes.frr.edits import batch, edits
from smartxd.planes.frr.render.context import Context
from smartxd.planes.frr.running import Configuration, parse
from smartxd.planes.frr.target import target
from smartxd.planes.frr.words import Path
from smartxd.spec import kinds
from smartxd.spec.envelope import Metadata
from smartxd.spec.fleet import Fleet
from smartxd.spec.load import judge

REFERENCE = FilePath(__file__).parent.parent.parent / "specs" / "reference"
DOCUMENTS = [d for file in sorted(REFERENCE.glob("*.yaml")) for d in yaml.safe_load_all(file.read_text())]
KINDS = ("BGPRouter", "BGPPeer", "PrefixList", "RouteMap", "CommunityList", "ASPathList", "Route", "Tunnel")
BYTES_MAX = 4000
"""Of a line; FRR 8.4 reads none over 4 kB."""

HOSTILE = (
    *("x\n!\nrouter bgp 1", "x\rno router bgp 65001", "x\r\nexit", "x\x0bno y", "x\x0cno y", "x\x85no y"),
    *("x\u2028no y", "x\u2029no y", "x\0no y", "\x1b[2J", "\x7f", "\u200b", "\u202ex", "\ud800", "\ufeffx y"),
    *(
        "! x",
        "!",
        "# x",
        "a | b",
        "|",
        "| include x",
        "  a  b  ",
        " ",
        "\t",
        "x\ty",
        "exit exit",
        "end !",
        "no !",
    ),
    *(
        '"',
        '"x',
        "'",
        "\\",
        "\\n",
        "<cr> !",
        "? ?",
        "%s %n",
        "{x}",
        "$(x)",
        "`x`",
        ";x",
        "é 한국어",
        "\U0001f600",
    ),
    *(
        "x y" * 4_000,
        "é" * 10_000,
        "é" * 200,
        "FE80::0001 2001:DB8::1/32",
        "route-map checked in",
        "password x",
    ),
)
Place = tuple[str | int, ...]
"""Where in a document something stands; the name of a mapping's field has an empty one behind it."""


def leaves(value: Any, above: Place = ()) -> Iterator[Place]:
    """The places of all values that are no mappings or lists, and those of all names of mappings."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*above, key))
            if isinstance(value, dict):
                yield (*above, key, "")
    else:
        yield above


def put(document: dict[str, Any], place: Place, text: str) -> dict[str, Any]:
    """The document with a text in a place; one that ends in nothing is that of a name."""
    found: Any = copy.deepcopy(document)
    *way, last = place[:-1] if place[-1] == "" else place
    inside = found
    for step in way:
        inside = inside[step]
    inside[text if place[-1] == "" else last] = inside.pop(last) if place[-1] == "" else text
    return dict(found)


def configured(fleet: Fleet, box: str) -> frozenset[Path]:
    """The lines of a box's FRR, which are the same once they were written and read."""
    state = lower(fleet, box)
    context = Context(passwords={"koren": "token"})
    lines = {part.id: render.lines(part, context) for part in state.parts}
    goal, nothing = target(Configuration(), lines), Configuration()
    paths = frozenset(goal.paths)
    assert paths == {path for part in lines.values() for path in part}
    assert frozenset(parse(goal.text).paths) == paths
    text, origin = batch(edits(Delta.between(nothing, goal, lines), nothing, lines))
    written = text.split("\n")
    for number, edit in origin.items():
        assert written[number - 1] in edit.path
    for line in (*written, *goal.text.split("\n")):
        assert line.isprintable()
        assert "|" not in line
        assert len(line.encode()) < BYTES_MAX
    return paths


def judged(documents: list[dict[str, Any]]) -> tuple[bool, Fleet]:
    text = "---\n".join(json.dumps(document) + "\n" for document in documents)
    verdict = judge({"specs.yaml": text.encode()})
    return not verdict.errors, verdict.fleet


OURS = [number for number, document in enumerate(DOCUMENTS) if document["kind"] in KINDS]


def is_taken(document: dict[str, Any]) -> bool:
    """Whether the fields of a document by themselves are right: most texts fail here, and fast."""
    try:
        Metadata.model_validate(document["metadata"])
        kinds.KINDS[document["kind"]].model_validate(document["spec"])
    except ValidationError:
        return False
    return True


@pytest.fixture(scope="module")
def usual() -> dict[str, frozenset[Path]]:
    right, fleet = judged(DOCUMENTS)
    assert right
    return {box: configured(fleet, box) for box in fleet.boxes}


def named(number: int) -> str:
    return f"{DOCUMENTS[number]['kind']}-{DOCUMENTS[number]['metadata']['name']}"


@pytest.mark.parametrize("number", OURS, ids=named)
def test_a_hostile_text_is_refused_or_changes_its_own_line(
    number: int, usual: dict[str, frozenset[Path]]
) -> None:
    given = DOCUMENTS[number]
    places = [*leaves(given["metadata"], ("metadata",)), *leaves(given["spec"], ("spec",))]
    for place, text in itertools.product(places, HOSTILE):
        document = put(given, place, text)
        if not is_taken(document):
            continue
        right, fleet = judged([*DOCUMENTS[:number], document, *DOCUMENTS[number + 1 :]])
        if not right:
            continue
        for box, before in usual.items():
            now = configured(fleet, box)
            changed = f"{place} {text!r}: {sorted(now ^ before)}"
            assert len(now) == len(before), changed
            assert len(now - before) <= 1, changed


def test_the_texts_reach_the_configuration(usual: dict[str, frozenset[Path]]) -> None:
    """Else the test above would hold of anything."""
    number = next(n for n in OURS if DOCUMENTS[n]["metadata"]["name"] == "transit")
    document = put(DOCUMENTS[number], ("spec", "shutdown", "message"), '! exit "')
    right, fleet = judged([*DOCUMENTS[:number], document, *DOCUMENTS[number + 1 :]])
    assert right
    (line,) = configured(fleet, "gist1") - usual["gist1"]
    assert line[-1] == 'neighbor 198.51.100.1 shutdown message ! exit "'
