"""YAML text to documents: plain values, and on demand the line and column of each, for the errors about them.

Only what a spec needs of YAML is taken: the core schema's scalars (``on``, ``0:30`` and dates stay text),
mappings with unique text keys, sequences, and aliases up to a bound. No tag is taken: none builds an object.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml
from yaml._yaml import CParser

from smartxd.spec.finding import Finding, Location, Rule, shown
from smartxd.spec.places import Mark, Path, Places

FILE_BYTES_MAX = 1 << 20
REPO_BYTES_MAX = 64 << 20
"""All spec files of one repo together."""
DOCUMENTS_MAX = 10_000
"""Documents of one file, empty ones too."""
VALUES_MAX = 100_000
"""Values of one file, aliases expanded: what stops a YAML bomb."""
DEPTH_MAX = 32
DOUBLED_MAX = 1_000
"""Keys given twice that are told of one file: more than anybody reads."""

UNREADABLE = Rule(
    id="SX001",
    name="unreadable-file",
    summary="Every spec file can be read: a regular file, UTF-8 text, within the limits of size.",
    why=(
        "A file named `*.yaml` or `*.yml` holds specs, so one that cannot be taken would leave boxes without "
        f"them. A spec file is a regular file of UTF-8 text, at most {FILE_BYTES_MAX >> 20} MiB large, with "
        f"at most {DOCUMENTS_MAX} documents. No symbolic link is followed: a box has the commit only, and a "
        "link could lead anywhere, so put the file itself in its place. Save the file as UTF-8 without "
        "control characters; split one that is too large; rename one that holds no specs, or move it into a "
        "folder whose name begins with a dot."
    ),
    fixed=True,
)
SYNTAX = Rule(
    id="SX002",
    name="yaml-syntax",
    summary="Every document is YAML, of the plain kind that specs use.",
    why=(
        "After an error of syntax the rest of the file cannot be read, so correct it and validate again. Of "
        "YAML a spec uses mappings whose keys are text, lists, and single values. Tags (`!x`, `!!str`) and "
        "`%TAG` are refused: quotes make text of a value or a key. An alias (`*x`) needs its anchor (`&x`) "
        "before it in the same document, and each anchor is given once. Nesting ends at "
        f"{DEPTH_MAX} levels and a file at {VALUES_MAX} values, where an alias counts as all that it stands "
        "for: so no small file can grow without end."
    ),
    fixed=True,
)
DUPLICATE_KEY = Rule(
    id="SX003",
    name="duplicate-key",
    summary="A key stands once in its mapping.",
    why=(
        "Of two equal keys YAML readers keep one without a word, some the first and others the last, so the "
        "spec would mean something else to each. Remove one of the two; where both are meant, join what is "
        "below them under one key. The rest of the document is judged with the value that was given first."
    ),
    fixed=True,
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What a source gives in place of the content of a file that is not taken."""

    message: str


Content = bytes | Unreadable
"""Of one file; of a file that is too large only so much as shows that it is."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document as plain data; its values are located when that is first asked."""

    file: str
    data: dict[str, object]
    """Values that an alias stands for are shared: not to be changed."""
    size: int
    """How many values it holds, aliases expanded."""
    _places: Places = field(repr=False, compare=False)

    def __contains__(self, path: Path) -> bool:
        """Whether something stands at ``path``."""
        return self._places.at(path)[1]

    def locate(self, path: Path) -> Location:
        """The location of the value at ``path`` (of its key, if it has one), or of its nearest ancestor."""
        place, _ = self._places.at(path)
        return Location(self.file, *place)


def parse(file: str, content: Content) -> tuple[list[Document], list[Finding]]:
    """The documents of one file and all that is wrong with it; empty documents are passed over.

    A syntax error or a limit ends the file: the documents before it are kept. What a spec may not use ends
    its document only. A key given twice ends nothing: the document is kept, with the first of the values.
    """
    if isinstance(content, Unreadable):
        return [], [_Refused(content.message, UNREADABLE).finding(file)]
    try:
        reader = _Reader(file, _text(content))
    except _Refused as err:
        return [], [err.finding(file)]
    reader.read()
    return reader.documents, sorted(reader.findings, key=lambda finding: finding.location)


class _Refused(Exception):
    """Something that a spec may not hold, at a mark of the parser or at the beginning of the file."""

    def __init__(self, message: str, rule: Rule, mark: Any = None, *, ends_file: bool = False) -> None:
        super().__init__(message)
        self.message, self.rule, self.mark, self.ends_file = message, rule, Mark.of(mark), ends_file

    def finding(self, file: str) -> Finding:
        location = Location(file, self.mark.line + 1, self.mark.column + 1)
        return Finding(location, "", "", self.message, self.rule.id)


_PASSED_MAX = 3 * VALUES_MAX
"""Events that are passed over behind what is refused; a value has three at most: key, beginning, end."""

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What the parser counts as the end of a line."""
_TAG_DIRECTIVE = re.compile(r"(?:\A|[\n\r\x85\u2028\u2029])(?=%TAG)")
"""No tag is allowed anyway, and the parser compares each such directive with all before it."""
_NO_TEXT = re.compile("[^\t\n\r -~\x85\xa0-\ufffd\U00010000-\U0010ffff]")
"""Characters that no YAML may hold."""


def _text(content: bytes) -> str:
    if len(content) > FILE_BYTES_MAX:
        raise _Refused(f"too large; a spec file has at most {FILE_BYTES_MAX} bytes: split it", UNREADABLE)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Refused("UTF-16; save the file as UTF-8", UNREADABLE)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as err:
        before = content[: err.start].decode("utf-8")
        message = f"not UTF-8 at byte {err.start}; save the file as UTF-8"
        raise _Refused(message, UNREADABLE, _mark(before, len(before))) from None
    text = text.lstrip("\ufeff")  # which the parser would pass over without counting it
    if odd := _NO_TEXT.search(text):
        message = f"not text: the character U+{ord(odd[0]):04X}, which no YAML may hold"
        raise _Refused(message, UNREADABLE, _mark(text, odd.start()))
    if tag := _TAG_DIRECTIVE.search(text):
        raise _Refused("a %TAG directive is not allowed", SYNTAX, _mark(text, tag.end()))
    return text


def _mark(text: str, index: int) -> Mark:
    starts = [0, *(found.end() for found in _BREAK.finditer(text, 0, index))]
    return Mark(index, len(starts) - 1, index - starts[-1])


class _Anchored(NamedTuple):
    """What an anchor stands for."""

    value: object
    size: int
    height: int
    """Levels of nesting in it."""
    line: int


class _Reader:
    """Reads the documents of one file off the parser's events, which are made as they are asked for.

    Events, not nodes: PyYAML makes nodes by recursion in C, where nesting overruns the process's stack.
    """

    def __init__(self, file: str, text: str) -> None:
        self.documents: list[Document] = []
        self.findings: list[Finding] = []
        self._file, self._text = file, text
        self._next: Callable[[], Any] = CParser(text).get_event
        self._left = VALUES_MAX
        self._anchors: dict[str, _Anchored | None] = {}
        self._deepest = 0
        self._doubled = False

    def read(self) -> None:
        """Fill ``documents`` and ``findings``; no error of the input is raised."""
        count = passed = 0
        try:
            while not isinstance(event := self._next(), yaml.StreamEndEvent):
                passed += 1
                if passed > _PASSED_MAX:
                    raise _beyond(event, 0)
                if isinstance(event, yaml.DocumentStartEvent):
                    count += 1
                    if count > DOCUMENTS_MAX:
                        message = f"more than {DOCUMENTS_MAX} documents in one file; split it"
                        raise _Refused(message, UNREADABLE, event.start_mark)
                    self._document(Mark.of(event.start_mark))
        except (_Refused, yaml.YAMLError) as err:
            self.findings.append(_refused(err).finding(self._file))

    def _document(self, start: Mark) -> None:
        self._anchors, self._deepest, self._doubled = {}, 0, False
        before = self._left
        try:
            root = self._next()
            data = self._value(root, 0)
            end: int = self._next().end_mark.index
            if data is not None and not isinstance(data, dict):
                message = "a spec is a mapping with apiVersion, kind, metadata and spec"
                raise _Refused(message, SYNTAX, root.start_mark)
        except (_Refused, yaml.YAMLError) as err:
            refused = _refused(err)
            self._doubles(Places(self._text, start, refused.mark.index))
            if refused.ends_file:
                raise refused from None
            self.findings.append(refused.finding(self._file))
            return  # what is left of the document is passed over
        places = Places(self._text, start, end)
        self._doubles(places)
        if data is not None:
            self.documents.append(Document(self._file, data, before - self._left, places))

    def _doubles(self, places: Places) -> None:
        if not self._doubled:
            return
        for key, first, second in places.doubles()[: max(0, DOUBLED_MAX - len(self.findings))]:
            message = f"{shown(key)}: given twice, first at line {first.line}"
            first_at, second_at = Location(self._file, *first), Location(self._file, *second)
            self.findings.append(Finding(second_at, "", "", message, DUPLICATE_KEY.id, other=first_at))

    def _value(self, event: Any, depth: int) -> object:
        """The value that begins with this event."""
        self._left -= 1
        if self._left < 0 or depth > DEPTH_MAX:
            raise _beyond(event, depth)
        if event.anchor is None:
            return self._plain(event, depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        return self._anchored(event, depth)

    def _plain(self, event: Any, depth: int) -> object:
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if event.tag not in (None, "!"):
            raise _tagged(event)
        self._deepest = max(self._deepest, depth)
        return self._list(depth) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(depth)

    def _list(self, depth: int) -> list[object]:
        items: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, object]:
        mapping: dict[str, object] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event)
            value = self._value(self._next(), depth + 1)
            if key in mapping:
                self._doubled = True
            else:
                mapping[key] = value
        return mapping

    def _key(self, event: Any) -> str:
        key = None
        if isinstance(event, yaml.ScalarEvent):
            key = _scalar(event) if event.anchor is None else self._anchored(event, 0)
        if not isinstance(key, str):
            raise _Refused("a key must be text; put it in quotes", SYNTAX, event.start_mark)
        return key

    def _anchored(self, event: Any, depth: int) -> object:
        name, line = event.anchor, event.start_mark.line + 1
        if name in self._anchors:
            first = self._anchors[name]
            where = f"first at line {first.line}" if first else "and stands inside itself"
            raise _Refused(f"&{shown(name)}: given twice, {where}", SYNTAX, event.start_mark)
        self._anchors[name] = None
        left, outside, self._deepest = self._left, self._deepest, depth
        value = self._plain(event, depth)
        self._anchors[name] = _Anchored(value, 1 + left - self._left, self._deepest - depth, line)
        self._deepest = max(self._deepest, outside)
        return value

    def _alias(self, event: Any, depth: int) -> object:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            inside = event.anchor in self._anchors
            what = "stands inside its own anchor" if inside else "no such anchor before this line"
            raise _Refused(f"*{shown(event.anchor)}: {what}", SYNTAX, event.start_mark)
        self._left -= anchored.size - 1
        self._deepest = max(self._deepest, depth + anchored.height)
        if self._left < 0 or self._deepest > DEPTH_MAX:
            raise _beyond(event, self._deepest)
        return anchored.value


def _refused(err: _Refused | yaml.YAMLError) -> _Refused:
    """What ends a document or file; an error of the parser's is that the text is no YAML."""
    if isinstance(err, _Refused):
        return err
    mark = getattr(err, "problem_mark", None) or getattr(err, "context_mark", None)
    problem = getattr(err, "problem", None) or getattr(err, "context", None) or err
    return _Refused(f"not YAML: {problem}", SYNTAX, mark, ends_file=True)


def _beyond(event: Any, depth: int) -> _Refused:
    message = f"more than {VALUES_MAX} values in one file (aliases count each time)"
    if depth > DEPTH_MAX:
        message = f"nested deeper than {DEPTH_MAX} levels"
    return _Refused(message, SYNTAX, event.start_mark, ends_file=True)


def _tagged(event: Any) -> _Refused:
    return _Refused(f"the tag {shown(event.tag)} is not allowed", SYNTAX, event.start_mark)


_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NUMBER_STARTS = frozenset("+-.0123456789")

_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def _scalar(event: Any) -> object:
    if event.tag not in (None, "!"):
        raise _tagged(event)
    text: str = event.value
    if event.style or event.tag:  # quoted, block or "!": text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_STARTS:
        if _INT.fullmatch(text) and len(text) <= 20:
            return int(text)
        if _FLOAT.fullmatch(text) and len(text) <= 40:
            return float(text)
    return text
