"""FRR's running configuration as a tree, and what of it smartxd could have made.

The tree keeps every byte: ``parse(text).text == text`` for any text. Indentation alone makes sections, and
the ``exit`` line that follows a section belongs to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from smartxd.planes.frr.words import Path, part_of

_ROUTER = re.compile(r"router bgp (\d+)")
_SECRET = re.compile(r"\b(password|key|secret) .*")


@dataclass(frozen=True, slots=True)
class Node:
    """A line as FRR prints it, and the section that it opens, if it opens one."""

    line: str
    children: tuple[Node, ...] = ()
    closer: str | None = None
    statement: str = field(init=False, repr=False, compare=False)
    """The line without indentation."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "statement", " ".join(self.line.split()))

    @property
    def is_comment(self) -> bool:
        """Whether the line says nothing: a separator or a blank."""
        return not self.statement or self.statement.startswith("!")

    @property
    def is_container(self) -> bool:
        """Whether the line only opens a section."""
        return self.statement.startswith("address-family ") or self.statement == "bfd"

    def lines(self) -> Iterator[str]:
        """All lines of the node."""
        yield self.line
        for child in self.children:
            yield from child.lines()
        if self.closer is not None:
            yield self.closer


@dataclass(frozen=True)
class Configuration:
    """A whole configuration."""

    nodes: tuple[Node, ...] = ()
    version: str = ""
    """Of the FRR that printed it; empty where that is not known."""

    @property
    def text(self) -> str:
        """The configuration as text, byte for byte what was parsed."""
        return "\n".join(line for node in self.nodes for line in node.lines())

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """Every statement."""
        return tuple(_paths(self.nodes, ()))

    @cached_property
    def parts(self) -> dict[str, frozenset[Path]]:
        """The statements of each part that smartxd could have made, by its id."""
        found: dict[str, list[Path]] = {}
        for path in self.paths:
            if (id := part_of(path)) is not None:
                found.setdefault(id, []).append(path)
        return {id: frozenset(paths) for id, paths in found.items()}

    def lines_of(self, id: str) -> tuple[Path, ...]:
        """The statements of a part, in the order in which FRR prints them."""
        mine = self.parts.get(id, frozenset())
        return tuple(path for path in self.paths if path in mine)

    @property
    def profile(self) -> str:
        """What ``frr defaults`` names: it decides which lines FRR leaves out as its defaults."""
        words = next((n.statement for n in self.nodes if n.statement.startswith("frr defaults ")), "")
        return words.removeprefix("frr defaults ") or "traditional"

    @cached_property
    def section(self) -> Section | None:
        """The BGP speaker of the default VRF; FRR allows for one only."""
        for node in self.nodes:
            if match := _ROUTER.fullmatch(node.statement):
                header = node.statement
                return Section(int(match[1]), ((header,), *_paths(node.children, (header,))))
        return None

    def path_at(self, number: int) -> Path:
        """The statement on a line of the text, counted from 1, behind its headers."""
        at = 0

        def find(nodes: tuple[Node, ...], above: Path) -> Path | None:
            nonlocal at
            for node in nodes:
                at += 1
                path = (*above, node.statement)
                if at == number:
                    return path
                if (found := find(node.children, path)) is not None:
                    return found
                at += node.closer is not None
            return None

        return find(self.nodes, ()) or ("",)


@dataclass(frozen=True, slots=True)
class Section:
    """The statements of one ``router bgp`` section, in order, its header first."""

    asn: int
    paths: tuple[Path, ...]

    @property
    def id(self) -> str:
        """The plane's name for the section, which is its header."""
        return f"router bgp {self.asn}"

    @property
    def router_id(self) -> str | None:
        """The configured router ID; FRR picks one where there is none."""
        return next(
            (p[1].split()[2] for p in self.paths if p[1:] and p[1].startswith("bgp router-id ")), None
        )

    @property
    def activates_ipv4(self) -> bool:
        """Whether a new neighbour speaks IPv4 unicast without an ``activate`` line."""
        return (self.id, "no bgp default ipv4-unicast") not in self.paths


def _paths(nodes: tuple[Node, ...], above: Path) -> list[Path]:
    """Every statement of the nodes, which are in the sections ``above``."""
    found: list[Path] = []
    for node in nodes:
        if node.is_comment:
            continue
        path = (*above, node.statement)
        if not node.is_container:
            found.append(path)
        if node.children:
            found += _paths(node.children, path)
    return found


def redacted(statement: str) -> str:
    """The statement as it may be shown: without the value of a password or key."""
    return _SECRET.sub(r"\1 ***", statement)


def parse(text: str, version: str = "") -> Configuration:
    """The tree of a configuration."""
    nodes, _ = _block(text.split("\n"), 0, 0)
    return Configuration(nodes, version)


def parse_running(output: str) -> Configuration:
    """The tree of what ``show running-config`` prints, without its preamble, version and ``end``."""
    _, header, rest = output.partition("Current configuration:\n")
    lines = (rest if header else output).split("\n")
    version = next((n.removeprefix("frr version ") for n in lines if n.startswith("frr version ")), "")
    kept = (n for n in lines if n != "end" and not n.startswith("frr version "))
    return parse("\n".join(kept), version.strip())


def _block(lines: list[str], at: int, indent: int) -> tuple[tuple[Node, ...], int]:
    """The nodes from line ``at`` on that are indented by ``indent`` or more, and the line after them."""
    nodes: list[Node] = []
    while at < len(lines) and (own := _indent(lines[at])) >= indent:
        line = lines[at]
        children, at = _block(lines, at + 1, own + 1)
        closer = None
        if at < len(lines) and _indent(lines[at]) == own and _closes(lines[at]):
            closer, at = lines[at], at + 1
        nodes.append(Node(line, children, closer))
    return tuple(nodes), at


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _closes(line: str) -> bool:
    word = line.strip(" ")
    return word == "exit" or word.startswith("exit-")
