"""FRR's running configuration as a tree, and what of it concerns BGP.

The tree keeps every byte: ``parse(text).text == text`` for any text. Indentation alone makes sections, and
the ``exit`` line that follows a section belongs to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

Path = tuple[str, ...]
"""A statement behind the headers of the sections that it is in, in FRR's own spacing."""

IPV4_UNICAST = "address-family ipv4 unicast"
_ROUTER = re.compile(r"router bgp (\d+)")
_SECRET = re.compile(r"\b(password|key|secret) .*")


@dataclass(frozen=True, slots=True)
class Node:
    """A line as FRR prints it, and the section that it opens, if it opens one."""

    line: str
    children: tuple[Node, ...] = ()
    closer: str | None = None

    @property
    def statement(self) -> str:
        """The line without indentation."""
        return " ".join(self.line.split())

    @property
    def is_comment(self) -> bool:
        """Whether the line says nothing: a separator or a blank."""
        return not self.statement or self.statement.startswith("!")

    def lines(self) -> Iterator[str]:
        """All lines of the node."""
        yield self.line
        for child in self.children:
            yield from child.lines()
        if self.closer is not None:
            yield self.closer

    def paths(self) -> Iterator[Path]:
        """Every statement within the node, seen from the node."""
        for child in self.children:
            if child.is_comment:
                continue
            # An address family without statements is the same as none: FRR does not print it.
            if not child.line.lstrip().startswith("address-family "):
                yield (child.statement,)
            for path in child.paths():
                yield (child.statement, *path)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole configuration."""

    nodes: tuple[Node, ...] = ()

    @property
    def text(self) -> str:
        """The configuration as text, byte for byte what was parsed."""
        return "\n".join(line for node in self.nodes for line in node.lines())

    def paths(self) -> Iterator[Path]:
        """Every statement."""
        return Node("", self.nodes).paths()

    @property
    def profile(self) -> str:
        """What ``frr defaults`` names: it decides which lines FRR leaves out as its defaults."""
        words = next((n.statement for n in self.nodes if n.statement.startswith("frr defaults ")), "")
        return words.removeprefix("frr defaults ") or "traditional"

    @property
    def router(self) -> Section | None:
        """The BGP speaker of the default VRF; FRR allows for one only."""
        for node in self.nodes:
            if match := _ROUTER.fullmatch(node.statement):
                return Section.read(int(match[1]), tuple(node.paths()))
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

    def edit(self, header: str, change: Callable[[Node], Node | None]) -> Configuration:
        """The configuration with the top-level section of ``header`` changed, or removed where None."""
        edited = (change(n) if n.statement == header else n for n in self.nodes)
        return replace(self, nodes=tuple(n for n in edited if n is not None))


@dataclass(frozen=True, slots=True)
class Section:
    """The statements of one ``router bgp`` section, in order."""

    asn: int
    paths: tuple[Path, ...]
    parts: Mapping[str, frozenset[Path]]
    """The statements that belong to an object, by its id: ``neighbor 192.0.2.2``, ``network 10.0.0.0/8``."""

    @classmethod
    def read(cls, asn: int, paths: tuple[Path, ...]) -> Section:
        """The section of these statements."""
        parts: dict[str, set[Path]] = {}
        for path in paths:
            if (id := object_of(path)) is not None:
                parts.setdefault(id, set()).add(path)
        return cls(asn, paths, {id: frozenset(found) for id, found in parts.items()})

    @property
    def id(self) -> str:
        """The plane's name for the section, which is its header."""
        return f"router bgp {self.asn}"

    @property
    def router_id(self) -> str | None:
        """The configured router ID; FRR picks one where there is none."""
        return next((p[0].split()[2] for p in self.paths if p[0].startswith("bgp router-id ")), None)

    @property
    def activates_ipv4(self) -> bool:
        """Whether a new neighbour speaks IPv4 unicast without an ``activate`` line."""
        return ("no bgp default ipv4-unicast",) not in self.paths

    def of(self, id: str) -> frozenset[Path]:
        """The statements of one object; none where it is not there."""
        return self.parts.get(id, frozenset())


def object_of(path: Path) -> str | None:
    """The id of the object that a statement of a ``router bgp`` section, or its negation, belongs to.

    None where the statement is of the section itself, or of nothing that this plane knows.
    """
    words = path[-1].removeprefix("no ").split()
    if words[0] == "neighbor" and len(words) > 1:
        return f"neighbor {words[1]}"
    if words[0] == "network" and len(words) > 1 and path[:-1] == (IPV4_UNICAST,):
        return f"network {words[1]}"
    return None


def redacted(statement: str) -> str:
    """The statement as it may be shown: without the value of a password or key."""
    return _SECRET.sub(r"\1 ***", statement)


def parse(text: str) -> Configuration:
    """The tree of a configuration."""
    nodes, _ = _block(text.split("\n"), 0, 0)
    return Configuration(nodes)


def parse_running(output: str) -> Configuration:
    """The tree of what ``show running-config`` prints, without its preamble, version and ``end``."""
    _, header, rest = output.partition("Current configuration:\n")
    lines = (rest if header else output).split("\n")
    return parse("\n".join(n for n in lines if n != "end" and not n.startswith("frr version ")))


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
