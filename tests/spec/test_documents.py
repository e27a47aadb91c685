"""Every value knows its place, and hostile YAML is refused with a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartxd.spec.document import DEPTH_MAX, FILE_BYTES_MAX, parse


def only_finding(content: bytes) -> str:
    documents, findings = parse("a.yaml", content)
    assert documents == []
    assert len(findings) == 1
    return str(findings[0])


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
    assert only_finding(b"kind: A\nspec: {}\nkind: B\n") == "a.yaml:3:1: kind: given twice, first at line 1"


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
    assert f"nested deeper than {DEPTH_MAX}" in only_finding(b"a: &a [*a]\n")


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
    assert [str(f) for f in findings] == [finding]


def test_a_file_that_is_too_large_is_refused() -> None:
    assert f"at most {FILE_BYTES_MAX}" in only_finding(b"#" * (FILE_BYTES_MAX + 1))


def test_a_binary_file_is_refused() -> None:
    assert only_finding(b"kind: \xff\xfe") == "a.yaml:1:1: not UTF-8 at byte 6"


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
