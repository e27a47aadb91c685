"""Every value knows its place, and hostile YAML is refused with a line."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from smartxd.spec.document import (
    DEPTH_MAX,
    DOCUMENTS_MAX,
    DUPLICATE_KEY,
    FILE_BYTES_MAX,
    SYNTAX,
    UNREADABLE,
    VALUES_MAX,
    Unreadable,
    parse,
)
from smartxd.spec.finding import Finding, Location
from smartxd.spec.places import Path


def only_finding(content: bytes) -> str:
    documents, findings = parse("a.yaml", content)
    assert documents == []
    assert len(findings) == 1
    return line(findings[0])


def line(finding: Finding) -> str:
    return str(finding).rpartition(" [")[0]


def test_each_document_of_a_file_keeps_the_lines_of_the_file() -> None:
    documents, findings = parse("a.yaml", b"kind: A\n---\n\nkind: B\nspec:\n  vni: 1\n")
    assert findings == []
    assert [d.data["kind"] for d in documents] == ["A", "B"]
    assert str(documents[1].locate(("spec", "vni"))) == "a.yaml:6:3"


def test_a_path_that_is_not_there_is_located_at_its_nearest_ancestor() -> None:
    (document,), _ = parse("a.yaml", b"kind: A\nspec:\n  x: 1\n")
    assert str(document.locate(("spec", "y", "z"))) == "a.yaml:2:1"


def test_empty_documents_are_passed_over() -> None:
    assert parse("a.yaml", b"---\n---\n# nothing\n") == ([], [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("0777", "0777"),
        ("2026-11-22", "2026-11-22"),
        ("'100'", "100"),
        ("100", 100),
        ("true", True),
        ("~", None),
        ("1.10", 1.10),
        ("0x10", "0x10"),
    ],
)
def test_scalars_are_what_an_operator_means(text: str, value: object) -> None:
    (document,), _ = parse("a.yaml", f"v: {text}\n".encode())
    assert document.data["v"] == value
    assert type(document.data["v"]) is type(value)


def test_a_key_given_twice_is_refused_with_both_lines() -> None:
    (document,), (finding,) = parse("a.yaml", b"kind: A\nspec: {}\nkind: B\n")
    assert str(finding) == "a.yaml:3:1: kind: given twice, first at line 1 [SX003]"
    assert str(finding.other) == "a.yaml:1:1"
    assert document.data == {"kind": "A", "spec": {}}
    assert str(document.locate(("kind",))) == "a.yaml:1:1"


def test_all_that_is_wrong_with_a_file_is_said_in_the_order_of_its_lines() -> None:
    text = """
a: 1
a: {b: 1, b: 2}
c: {d: 1}
c: {d: 1, d: 2}
---
- list
---
x: !tag y
z: 1
---
kind: Good
---
v: 1
v: 2
w: [
"""
    documents, findings = parse("a.yaml", text.encode())
    assert [d.data for d in documents] == [{"a": 1, "c": {"d": 1}}, {"kind": "Good"}]
    assert [(f.location.line, f.rule) for f in findings] == [
        (3, DUPLICATE_KEY.id),
        (3, DUPLICATE_KEY.id),
        (5, DUPLICATE_KEY.id),
        (5, DUPLICATE_KEY.id),
        (7, SYNTAX.id),
        (9, SYNTAX.id),
        (15, DUPLICATE_KEY.id),
        (17, SYNTAX.id),
    ]
    assert "first at line 5" in findings[3].message


@pytest.mark.parametrize(
    "content",
    [
        b"!!python/object/apply:os.system ['true']\n",
        b"a: !!python/name:os.system x\n",
        b"a: !mine 1\n",
        b"a: !!set {x, y}\n",
    ],
)
def test_no_tag_builds_an_object(content: bytes) -> None:
    assert "is not allowed" in only_finding(content)


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "aliases count each time" in only_finding("\n".join(lines).encode())


def test_an_alias_of_itself_is_refused() -> None:
    assert only_finding(b"a: &a [*a]\n") == "a.yaml:1:8: *a: stands inside its own anchor"


def test_depth_and_size_count_what_an_alias_stands_for() -> None:
    (document,), _ = parse("a.yaml", b"a: &a [1, {b: &b [2]}]\nc: *a\nd: [*b, *a]\n")
    assert document.size == 1 + 5 + 5 + (1 + 2 + 5)
    deep = b"[" * (DEPTH_MAX // 2) + b"]" * (DEPTH_MAX // 2)
    nested = b"[" * (DEPTH_MAX // 2) + b"*a" + b"]" * (DEPTH_MAX // 2)
    assert len(parse("a.yaml", b"a: &a " + deep + b"\nb: " + nested)[0]) == 1
    assert f"deeper than {DEPTH_MAX}" in only_finding(b"a: &a " + deep + b"\nb: [" + nested + b"]")


def test_an_alias_is_its_anchor_again() -> None:
    (document,), findings = parse("a.yaml", b"a: &a\n  x: &x [1]\n  y: *x\nb: *a\nc: [*x]\n")
    assert findings == []
    value = {"x": [1], "y": [1]}
    assert document.data == {"a": value, "b": value, "c": [[1]]}
    assert str(document.locate(("b", "y"))) == "a.yaml:3:3"
    assert str(document.locate(("c", 0))) == "a.yaml:5:5"


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"a: *x\n", "a.yaml:1:4: *x: no such anchor before this line"),
        (b"a: &x 1\nb: &x 2\n", "a.yaml:2:4: &x: given twice, first at line 1"),
        (b"a: &x 1\n---\nb: *x\n", "a.yaml:3:4: *x: no such anchor before this line"),
        (b"1: a\n", "a.yaml:1:1: a key must be text; put it in quotes"),
        (
            b'"a\\nb": 1\n"a\\nb": 2\n',
            "a.yaml:2:1: a\N{REPLACEMENT CHARACTER}b: given twice, first at line 1",
        ),
        (b"# first\n%TAG !x! tag:x,\n--- 1\n", "a.yaml:2:1: a %TAG directive is not allowed"),
    ],
)
def test_what_a_spec_may_not_hold_is_refused_with_its_place(content: bytes, finding: str) -> None:
    _, findings = parse("a.yaml", content)
    assert [line(f) for f in findings] == [finding]


def test_a_file_that_is_too_large_is_refused() -> None:
    assert f"at most {FILE_BYTES_MAX}" in only_finding(b"#" * (FILE_BYTES_MAX + 1))


def test_a_binary_file_is_refused() -> None:
    assert only_finding(b"kind: \xff\xfe") == "a.yaml:1:7: not UTF-8 at byte 6; save the file as UTF-8"


def test_a_list_is_no_spec() -> None:
    assert "a spec is a mapping" in only_finding(b"- a\n- b\n")


def test_a_syntax_error_is_located_and_the_documents_before_it_are_read() -> None:
    documents, findings = parse("a.yaml", b"kind: A\n---\nkind: [\n")
    assert len(documents) == 1
    assert str(findings[0]).startswith("a.yaml:4:1: not YAML: ")


@given(st.binary(max_size=300) | st.text(alphabet="ab:-[]{}&*!#'\"\n |>%@,?", max_size=200).map(str.encode))
def test_any_bytes_give_documents_or_located_findings(content: bytes) -> None:
    _, findings = parse("a.yaml", content)
    assert all(f.location.line >= 1 and f.location.column >= 1 for f in findings)
    assert all("\n" not in str(f) for f in findings)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (Unreadable("a symbolic link"), "a.yaml:1:1: a symbolic link [SX001]"),
        ("kind: A\n".encode("utf-16"), "a.yaml:1:1: UTF-16; save the file as UTF-8 [SX001]"),
        (
            "kind: A\n".encode("utf-16-le"),
            "a.yaml:1:2: not text: the character U+0000, which no YAML may hold",
        ),
        (b"a: 1\r\nb: \0\n", "a.yaml:2:4: not text: the character U+0000, which no YAML may hold"),
        (b"\x7fELF\2\1\1\0", "a.yaml:1:1: not text: the character U+007F, which no YAML may hold"),
        (bytes(100 << 20), "a.yaml:1:1: too large; a spec file has at most 1048576 bytes"),
        (
            b"---\n" * 100_000,
            f"a.yaml:{DOCUMENTS_MAX + 1}:1: more than {DOCUMENTS_MAX} documents in one file",
        ),
    ],
    ids=["link", "UTF-16 with a BOM", "UTF-16", "NUL", "ELF", "100 MB", "documents"],
)
def test_a_file_that_is_not_taken_is_one_line_at_once(content: bytes | Unreadable, finding: str) -> None:
    began = time.process_time()
    documents, findings = parse("a.yaml", content)
    assert time.process_time() - began < 1
    assert documents == []
    assert len(findings) == 1
    assert str(findings[0]).startswith(finding)
    assert findings[0].rule == UNREADABLE.id


def test_a_tag_does_not_hide_that_text_was_meant() -> None:
    assert "the tag tag:yaml.org,2002:str is not allowed" in only_finding(b"a: !!str 1\n")
    (document,), _ = parse("a.yaml", b"a: ! 1\n")
    assert document.data == {"a": "1"}


def test_five_hundred_places_in_a_large_document_are_one_reading() -> None:
    (document,), _ = parse("a.yaml", b"spec:\n" + b"".join(b"- k%d\n" % i for i in range(99_990)))
    began = time.process_time()
    for index in range(500):
        assert document.locate(("spec", 199 * index)).line == 199 * index + 2
    assert time.process_time() - began < 2


def test_a_large_file_takes_little_memory_while_nothing_is_located() -> None:
    content = b"spec:\n" + b"".join(b"- [%d, k%d]\n" % (i, i) for i in range(33_000))
    tracemalloc.start()
    try:
        documents, _ = parse("a.yaml", content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert documents[0].size > 0.98 * VALUES_MAX
    assert peak < 15 << 20


def eager_places(text: str) -> list[dict[Path, tuple[int, int]]]:
    """The places of the values of each document that is a mapping, from one reading of the whole text."""
    events = iter(list(yaml.parse(text, Loader=yaml.CSafeLoader)))
    documents: list[dict[Path, tuple[int, int]]] = []

    def place(event: yaml.Event) -> tuple[int, int]:
        assert event.start_mark is not None
        return event.start_mark.line + 1, event.start_mark.column + 1

    def value(event: yaml.Event, path: Path) -> None:
        documents[-1].setdefault(path, place(event))
        if isinstance(event, yaml.SequenceStartEvent):
            index = 0
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                value(item, (*path, index))
                index += 1
        elif isinstance(event, yaml.MappingStartEvent):
            while not isinstance(key := next(events), yaml.MappingEndEvent):
                assert isinstance(key, yaml.ScalarEvent)
                documents[-1].setdefault((*path, key.value), place(key))
                value(next(events), (*path, key.value))

    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents.append({})
            root = next(events)
            value(root, ())
            if not isinstance(root, yaml.MappingStartEvent):
                documents.pop()
    return documents


BLOCKS = st.sampled_from(
    [
        "a: 1\nb:\n  c: [x, {y: z}]\n  d: >\n    folded\n    text\n",
        "  a: 1\n  b: é\n",
        "# comment\n\nkind: 상자\nspec: {상자: [1, 2],\n  'q': \"x\\ny\"}\n",
        "한글 키: {값: [가, 나]} # 끝\nafter: |+\n  kept\n\n",
        "? a\n: b\nlist:\n- 1\n-\n  - 2\n  - k: v\n",
        "a\u2028b: 1\n",
        "\ufeffa: 1\nb: \ufeff\n",
        "{a: 1, b: [2, 3]}\n",
        "a: plain\n  goes on\nb: ~\n",
        "",
        "# nothing\n",
    ]
)
BETWEEN = st.sampled_from(
    ["---\n", "--- # x\n", "...\n", "...\n---\n", "...\n# é\n%YAML 1.1\n---\n", "...\n\n  \n"]
)
FILES = st.builds(
    lambda bom, head, parts, ends: (bom + head + "".join(b + s for b, s in parts)).replace("\n", ends),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from(["", "---\n", "%YAML 1.1\n---\n", "# comment\n\n"]),
    st.lists(st.tuples(BLOCKS, BETWEEN), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
)


@st.composite
def altered_files(draw: st.DrawFn) -> str:
    text = draw(FILES)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 2))
        text = (
            text[:at]
            + draw(st.text(alphabet="aé\U0001f600 :-,#|'\"%?[]{}\n\r.\t\ufeff\u2028", max_size=3))
            + text[at + cut :]
        )
    return text


@given(altered_files())
def test_places_found_late_are_those_of_the_whole_file(text: str) -> None:
    documents, findings = parse("a.yaml", text.encode())
    if any("a spec is a mapping" not in f.message for f in findings):
        return  # not read to its end, or a key stands twice
    eager = eager_places(text.lstrip("\ufeff"))
    assert len(documents) == len(eager)
    for document, places in zip(documents, eager, strict=True):
        for path, place in places.items():
            assert path in document
            assert document.locate(path) == Location("a.yaml", *place)
        assert ("no", "such") not in document
