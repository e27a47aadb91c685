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
"""Values of one file, aliases expanded: what stops a YAML bomb."""
DEPTH_MAX = 32

Path = tuple[str | int, ...]
"""Where a value stands inside its document: keys and indexes."""
Place = tuple[int, int]
"""Where it stands inside its file: line and column, from 1."""


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
        line = ": ".join(part for part in (str(self.location), self.object, self.field, self.message) if part)
        return printable(line)  # whatever of the input the message repeats


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document as plain data, with the location of every value in it."""

    file: str
    data: dict[str, object]
    places: Mapping[Path, Place]

    def __contains__(self, path: Path) -> bool:
        """Whether something stands at ``path``."""
        return path in self.places

    def locate(self, path: Path) -> Location:
        """The location of the value at ``path``, or of its nearest ancestor that is there."""
        while path not in self.places:
            path = path[:-1]
        return Location(self.file, *self.places[path])


def shown(text: object) -> str:
    """Text of the input, cut and made safe to print on one line."""
    return printable(str(text)[:63])


def printable(text: str) -> str:
    """Text without what would begin another line or move a terminal's cursor."""
    return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in text)


class _Refused(Exception):
    """Something that a spec may not hold."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def parse(file: str, content: bytes) -> tuple[list[Document], list[Finding]]:
    """The documents of one file and what is wrong with it; empty documents are passed over."""
    documents: list[Document] = []
    place, message = (1, 1), ""
    try:
        documents.extend(_documents(file, _text(content)))
    except _Refused as err:
        place, message = err.place, err.message
    except yaml.MarkedYAMLError as err:
        if mark := err.problem_mark or err.context_mark:
            place = (mark.line + 1, mark.column + 1)
        message = f"not YAML: {err.problem or err.context}"
    except yaml.YAMLError as err:
        message = f"not YAML: {str(err).splitlines()[0]}"
    return documents, [Finding(Location(file, *place), "", "", message)] if message else []


def _text(content: bytes) -> str:
    if len(content) > FILE_BYTES_MAX:
        raise _Refused((1, 1), f"{len(content)} bytes; a spec file has at most {FILE_BYTES_MAX}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as err:
        raise _Refused((1, 1), f"not UTF-8 at byte {err.start}") from None
    if directive := _TAG_DIRECTIVE.search(text):
        raise _Refused((text.count("\n", 0, directive.end()) + 1, 1), "a %TAG directive is not allowed")
    return text


_TAG_DIRECTIVE = re.compile(r"(?:\A|[\n\r\x85\u2028\u2029])%TAG")
"""No tag of one's own is allowed anyway, and the parser compares each such directive with all before it."""


def _documents(file: str, text: str) -> Iterator[Document]:
    # Events, not nodes: PyYAML makes nodes by recursion in C, where nesting overruns the process's stack.
    events = yaml.parse(text, Loader=yaml.CSafeLoader)
    left = NODES_MAX
    for event in events:
        if not isinstance(event, yaml.DocumentStartEvent):
            continue
        reader = _Reader(events, left)
        data = reader.value((), 0)
        left = reader.left
        if isinstance(data, dict):
            yield Document(file, data, reader.places)
        elif data is not None:
            raise _Refused(reader.places[()], "a spec is a mapping with apiVersion, kind, metadata and spec")


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


@dataclass(slots=True)
class _Reader:
    """Reads one document off the parser's events, which are made as they are asked for.

    The events are kept, so that an alias reads those of its anchor once more.
    """

    events: Iterator[yaml.Event]
    left: int
    """How many more values the file may hold."""
    places: dict[Path, Place] = field(default_factory=dict)
    _kept: list[yaml.Event] = field(default_factory=list)
    _at: int = 0
    _anchors: dict[str, int] = field(default_factory=dict)

    def value(self, path: Path, depth: int) -> object:
        """The value that begins with the next event, which stands at ``path``."""
        event = self._next()
        self.left -= 1
        if self.left < 0:
            raise _Refused(
                _place(event), f"more than {NODES_MAX} values in one file (aliases count each time)"
            )
        if depth > DEPTH_MAX:
            raise _Refused(_place(event), f"nested deeper than {DEPTH_MAX} levels")
        # An error about a field points at its key, which is marked already: the value may stand lines below.
        self.places.setdefault(path, _place(event))
        match event:
            case yaml.AliasEvent():
                return self._alias(event, path, depth)
            case yaml.ScalarEvent():
                return _scalar(event)
            case yaml.SequenceStartEvent():
                return self._sequence(event, path, depth)
            case _:
                return self._mapping(event, path, depth)

    def _next(self) -> yaml.Event:
        if self._at == len(self._kept):
            event = next(self.events)
            self._kept.append(event)
            anchor = None if isinstance(event, yaml.AliasEvent) else getattr(event, "anchor", None)
            if anchor is not None and self._anchors.setdefault(anchor, self._at) != self._at:
                first, _ = _place(self._kept[self._anchors[anchor]])
                raise _Refused(_place(event), f"&{anchor}: given twice, first at line {first}")
        self._at += 1
        return self._kept[self._at - 1]

    def _ends(self, end: type[yaml.Event]) -> bool:
        """Whether the next event is this end; if so, it is taken."""
        found = isinstance(self._next(), end)
        self._at -= not found
        return found

    def _alias(self, event: yaml.AliasEvent, path: Path, depth: int) -> object:
        if event.anchor not in self._anchors:
            raise _Refused(_place(event), f"*{event.anchor}: no such anchor before this line")
        after, self._at = self._at, self._anchors[event.anchor]
        value = self.value(path, depth)
        self._at = after
        return value

    def _sequence(self, start: yaml.SequenceStartEvent, path: Path, depth: int) -> list[object]:
        _standard(start, "tag:yaml.org,2002:seq")
        items: list[object] = []
        while not self._ends(yaml.SequenceEndEvent):
            items.append(self.value((*path, len(items)), depth + 1))
        return items

    def _mapping(self, start: yaml.Event, path: Path, depth: int) -> dict[str, object]:
        _standard(start, "tag:yaml.org,2002:map")
        mapping: dict[str, object] = {}
        while not self._ends(yaml.MappingEndEvent):
            event = self._next()
            key = _scalar(event) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise _Refused(_place(event), "a key must be text; put it in quotes")
            if key in mapping:
                first, _ = self.places[(*path, key)]
                raise _Refused(_place(event), f"{shown(key)}: given twice, first at line {first}")
            self.places[(*path, key)] = _place(event)
            mapping[key] = self.value((*path, key), depth + 1)
        return mapping


_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SCALAR_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")
)
"""Tags that may stand before a scalar; its text is read by the rules below all the same."""

_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def _scalar(event: yaml.ScalarEvent) -> object:
    _standard(event, *_SCALAR_TAGS)
    text: str = event.value
    if event.style:  # quoted or block: text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= 20:
        return int(text)
    if _FLOAT.fullmatch(text) and len(text) <= 40:
        return float(text)
    return text


def _standard(event: yaml.Event, *tags: str) -> None:
    tag = getattr(event, "tag", None)
    if tag not in (None, "!", *tags):
        raise _Refused(_place(event), f"the tag {shown(tag)} is not allowed")
