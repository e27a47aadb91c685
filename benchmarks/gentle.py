"""Specs as careful operators change them: renamed, relabelled, widened, multiplied; mostly right."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from functools import cache
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import yaml

from smartxd.source import folder
from smartxd.spec.load import judge

ROOT = Path(__file__).parents[1]
ORIGINS = ("examples/*", "specs/reference", "tests/specs/right/*")
COPIES = (1, 1, 2, 3, 8, 40)
"""How many copies are made of an object: most fleets are small."""

Documents = list[dict[str, Any]]


@cache
def origins() -> tuple[tuple[str, ...], ...]:
    """The texts of the files of each repo that this release takes as it is."""
    folders = [path for pattern in ORIGINS for path in sorted(ROOT.glob(pattern)) if path.is_dir()]
    repos = [{n: c for n, c in folder.read(path).items() if isinstance(c, bytes)} for path in folders]
    return tuple(tuple(c.decode() for c in files.values()) for files in repos if not judge(files).errors)


def repo(rng: random.Random) -> tuple[list[str], int]:
    """The texts of one repo with a few changes, and how many of its documents are not as they were."""
    documents = [d for text in rng.choice(origins()) for d in yaml.load_all(text, yaml.CSafeLoader) if d]
    before = copy.deepcopy(documents)
    for _ in range(rng.choice((1, 2, 4))):
        rng.choice(CHANGES)(documents, rng)
    changed = sum(document not in before for document in documents)
    return [str(yaml.dump_all(documents, Dumper=yaml.CSafeDumper))], changed


def rename(documents: Documents, rng: random.Random) -> None:
    """Give an object another name, wherever it is named."""
    old, new = rng.choice(documents)["metadata"]["name"], f"n{rng.randrange(1 << 32)}"
    documents[:] = [_renamed(document, old, new) for document in documents]


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {new if k == old else k: _renamed(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    return new if value == old else value


def relabel(documents: Documents, rng: random.Random) -> None:
    """Label and annotate some objects."""
    for document in rng.sample(documents, rng.randint(1, len(documents))):
        what = rng.choice(("labels", "annotations"))
        document["metadata"].setdefault(what, {})[f"l{rng.randrange(9)}"] = str(rng.randrange(9))


def widen(documents: Documents, rng: random.Random) -> None:
    """Let objects be for all boxes."""
    for document in documents:
        if document["kind"] == "Box":
            document["metadata"].setdefault("labels", {})["every"] = "box"
        elif "boxes" in document["spec"] and rng.random() < 0.5:
            document["spec"]["boxes"] = {"matchLabels": {"every": "box"}}


def renumber(documents: Documents, rng: random.Random) -> None:
    """Give Tunnels other VNIs and groups, and Boxes larger MTUs."""
    for document in documents:
        spec = document["spec"]
        if document["kind"] == "Tunnel" and rng.random() < 0.5:
            _fresh(spec, rng)
        elif document["kind"] == "Box" and rng.random() < 0.5:
            spec["underlay"]["mtu"] = rng.choice((1600, 9000))


def _fresh(spec: dict[str, Any], rng: random.Random) -> None:
    spec["vni"] = rng.randrange(1 << 20, 1 << 24)
    if spec["flood"].get("group", "").startswith("239."):
        spec["flood"]["group"] = f"239.{rng.randrange(2, 256)}.{rng.randrange(256)}.{rng.randrange(256)}"


def multiply_tunnels(documents: Documents, rng: random.Random) -> None:
    """Make Tunnels like one that is there."""
    like = [document for document in documents if document["kind"] == "Tunnel"]
    for _ in range(rng.choice(COPIES) if like else 0):
        made = copy.deepcopy(rng.choice(like))
        made["metadata"]["name"] = f"t{rng.randrange(1 << 32)}"
        for field in ("gateways", "anycastGateway", "hosts", "bridge", "vlan"):
            made["spec"].pop(field, None)
        _fresh(made["spec"], rng)
        documents.append(made)


def multiply_boxes(documents: Documents, rng: random.Random) -> None:
    """Make Boxes like one that is there, beside it in its subnet."""
    like = [d for d in documents if d["kind"] == "Box" and "address" in d["spec"]["underlay"]]
    for _ in range(rng.choice(COPIES) if like else 0):
        made = copy.deepcopy(rng.choice(like))
        made["metadata"]["name"] = f"b{rng.randrange(1 << 32)}"
        underlay = made["spec"]["underlay"]
        network = ip_interface(underlay["address"]).network
        host = network[rng.randrange(1, max(2, min(network.num_addresses - 1, 1 << 16)))]
        underlay["address"] = f"{host}/{network.prefixlen}"
        for field in ("loopback", "loopback6", "routerId"):
            made["spec"].pop(field, None)
        underlay.pop("address6", None)
        documents.append(made)


CHANGES: tuple[Callable[[Documents, random.Random], None], ...] = (
    *(rename, relabel, widen, renumber, multiply_tunnels, multiply_boxes),
)
