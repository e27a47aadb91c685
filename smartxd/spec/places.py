"""Where the values of a YAML document stand in their file: read only when that is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from yaml._yaml import CParser

Path = tuple[str | int, ...]
"""Where a value stands inside its document: keys and indexes."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a text, counted from 0, as the parser does."""

    index: int = 0
    line: int = 0
    column: int = 0

    @classmethod
    def of(cls, mark: Any) -> Mark:
        """The parser's own mark; the beginning of the text where it has none."""
        return cls(mark.index, mark.line, mark.column) if mark else cls()


class Place(NamedTuple):
    """A place as people say it: line and column count from 1."""

    line: int
    column: int


class Double(NamedTuple):
    """A key that stands twice in one mapping."""

    key: str
    first: Place
    second: Place


class Places:
    """The places of one document, whose text is read again when the first of them is asked for.

    The text was accepted before, up to its end: what it may not hold is not looked for again.
    """

    __slots__ = ("_doubles", "_end", "_root", "_start", "_text")

    def __init__(self, text: str, start: Mark, end: int) -> None:
        """``text`` is that of the whole file; the document begins at ``start`` and ends before ``end``."""
        self._text, self._start, self._end = text, start, end
        self._doubles: list[Double] = []
        self._root: _Node | None = None

    def at(self, path: Path) -> tuple[Place, bool]:
        """The place of the value at ``path`` or of its nearest ancestor, and whether it is there itself.

        A value in a mapping stands where its key does: the value itself may stand lines below.
        """
        node = self._read()
        for step in path:
            inner = node.parts.get(step)
            if inner is None:
                return Place(node.line, node.column), False
            node = inner
        return Place(node.line, node.column), True

    def doubles(self) -> list[Double]:
        """The keys that stand twice, in their order."""
        self._read()
        return self._doubles

    def _read(self) -> _Node:
        if self._root is None:
            reader = _Reader(self._text[self._start.index : self._end], self._start)
            self._root, self._doubles = reader.read(), reader.doubles
        return self._root


class _Node(NamedTuple):
    line: int
    column: int
    parts: dict[str | int, _Node]
    """The values in it, by key or index; those of an alias are its anchor's."""


_NO_PARTS: dict[str | int, _Node] = {}


class _Reader:
    def __init__(self, text: str, start: Mark) -> None:
        # A line more, because the parser takes a BOM at the very beginning for none; and spaces, because the
        # first line of a document without `---` is indented as the others are.
        self._next: Callable[[], Any] = CParser("\n" + " " * start.column + text).get_event
        self._line = start.line
        self._anchors: dict[str, dict[str | int, _Node]] = {}
        self.doubles: list[Double] = []

    def read(self) -> _Node:
        root = _Node(self._line + 1, 1, {})
        # A document that was refused ends where it was: in the midst of something.
        with contextlib.suppress(yaml.YAMLError):
            while not isinstance(self._next(), yaml.DocumentStartEvent):
                pass
            event = self._next()
            root = self._node(event, root.parts)
            self._fill(root.parts, event)
        return root

    def _node(self, event: yaml.Event, parts: dict[str | int, _Node]) -> _Node:
        """What stands where this event begins."""
        mark = event.start_mark
        return _Node(self._line + mark.line, mark.column + 1, parts) if mark else _Node(1, 1, parts)

    def _parts(self, event: yaml.Event) -> dict[str | int, _Node]:
        """The values in the value that begins with this event."""
        if isinstance(event, yaml.ScalarEvent):  # most are, and a large file has many
            return _NO_PARTS
        if isinstance(event, yaml.AliasEvent):
            return self._anchors.get(event.anchor or "", _NO_PARTS)
        parts: dict[str | int, _Node] = {}
        self._fill(parts, event)
        return parts

    def _fill(self, parts: dict[str | int, _Node], start: Any) -> None:
        if getattr(start, "anchor", None) is not None and not isinstance(start, yaml.AliasEvent):
            self._anchors[start.anchor] = parts
        if isinstance(start, yaml.SequenceStartEvent):
            while not isinstance(event := self._next(), yaml.SequenceEndEvent):
                parts[len(parts)] = self._node(event, self._parts(event))
        elif isinstance(start, yaml.MappingStartEvent):
            while not isinstance(event := self._next(), yaml.MappingEndEvent):
                node = self._node(event, self._parts(self._next()))
                first = parts.setdefault(event.value, node)
                if first is not node:
                    places = Place(first.line, first.column), Place(node.line, node.column)
                    self.doubles.append(Double(event.value, *places))
