"""YAML text to located documents: each value knows its line and column, so that each error can name them.

Only what a spec needs of YAML is taken: the core schema's scalars (``on``, ``0:30`` and dates stay text),
mappings with unique text keys, sequences, and aliases up to a bound. No tag can build an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml

FILE_BYTES_MAX = 1 << 20
NODES_MAX = 100_000
"""Nodes of one file, aliases expanded: what stops a YAML bomb."""
DEPTH_MAX = 32

Path = tuple[str | int, ...]
"""Where a value stands inside its document: keys and indexes."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong, as one line."""

    location: Location
    object: str
    """``Kind/name``; empty where the document does not say."""
    field: str
    """Dotted path of the field; empty where the whole object is meant."""
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.location), self.object, self.field, self.message) if part)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document as plain data, with the location of every value in it."""

    data: dict[str, object]
    locations: Mapping[Path, Location]

    def locate(self, path: Path) -> Location:
        """The location of the value at ``path``, or of its nearest ancestor that is there."""
        while path not in self.locations:
            path = path[:-1]
        return self.locations[path]


class _Refused(Exception):
    """A node that a spec may not hold."""

    def __init__(self, mark: yaml.Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


def parse(file: str, content: bytes) -> tuple[list[Document], list[Finding]]:
    """The documents of one file and what is wrong with it; empty documents are passed over."""
    start = Location(file, 1, 1)
    if len(content) > FILE_BYTES_MAX:
        return [], [Finding(start, "", "", f"{len(content)} bytes; a spec file has at most {FILE_BYTES_MAX}")]
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as err:
        return [], [Finding(start, "", "", f"not UTF-8 at byte {err.start}")]
    documents: list[Document] = []
    budget = _Budget()
    try:
        for root in _compose(text):
            if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
                continue
            builder = _Builder(file, budget)
            data = builder.build(root, (), 0)
            if not isinstance(data, dict):
                raise _Refused(
                    root.start_mark, "a spec is a mapping with apiVersion, kind, metadata and spec"
                )
            documents.append(Document(data, builder.locations))
    except _Refused as err:
        return documents, [Finding(_location(file, err.mark), "", "", err.message)]
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        where = _location(file, mark) if mark is not None else start
        return documents, [Finding(where, "", "", f"not YAML: {err.problem or err.context}")]
    except yaml.YAMLError as err:
        return documents, [Finding(start, "", "", f"not YAML: {str(err).splitlines()[0]}")]
    return documents, []


def _compose(text: str) -> Iterator[yaml.Node | None]:
    loader = yaml.CSafeLoader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


def _location(file: str, mark: yaml.Mark) -> Location:
    return Location(file, mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Budget:
    nodes: int = NODES_MAX

    def spend(self, node: yaml.Node) -> None:
        self.nodes -= 1
        if self.nodes < 0:
            raise _Refused(
                node.start_mark, f"more than {NODES_MAX} values in one file (aliases count each time)"
            )


@dataclass(slots=True)
class _Builder:
    file: str
    budget: _Budget
    locations: dict[Path, Location] = field(default_factory=dict)

    def build(self, node: yaml.Node, path: Path, depth: int) -> object:
        self.budget.spend(node)
        if depth > DEPTH_MAX:
            raise _Refused(node.start_mark, f"nested deeper than {DEPTH_MAX} levels")
        self.locations.setdefault(path, _location(self.file, node.start_mark))
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            _standard(node, "tag:yaml.org,2002:seq")
            return [self.build(child, (*path, i), depth + 1) for i, child in enumerate(node.value)]
        _standard(node, "tag:yaml.org,2002:map")
        return self._mapping(node, path, depth)

    def _mapping(self, node: yaml.Node, path: Path, depth: int) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise _Refused(key_node.start_mark, "a key must be text")
            if key in mapping:
                first = self.locations[(*path, key)]
                raise _Refused(key_node.start_mark, f"{key}: given twice, first at line {first.line}")
            # An error about a field points at its key: the value may stand lines below.
            self.locations[(*path, key)] = _location(self.file, key_node.start_mark)
            mapping[key] = self.build(value_node, (*path, key), depth + 1)
        return mapping


_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SCALAR_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
)
"""What YAML's own rules give to untagged scalars; the text of each is read by the rules below instead."""

_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def _scalar(node: yaml.ScalarNode) -> object:
    if node.tag not in _SCALAR_TAGS:
        raise _Refused(node.start_mark, f"the tag {node.tag} is not allowed")
    text: str = node.value
    if node.style:  # quoted or block: text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= 20:
        return int(text)
    if _FLOAT.fullmatch(text) and len(text) <= 40:
        return float(text)
    return text


def _standard(node: yaml.Node, tag: str) -> None:
    if node.tag != tag:
        raise _Refused(node.start_mark, f"the tag {node.tag} is not allowed")
