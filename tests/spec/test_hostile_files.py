"""A hostile file costs a finding: neither the process, which C code could take down, nor minutes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smartxd.spec.document import FILE_BYTES_MAX
from smartxd.spec.load import FINDINGS_MAX

LOAD = """
import sys, time
from smartxd.errors import SpecError
from smartxd.spec.load import load
began = time.process_time()
try:
    load({"a.yaml": sys.stdin.buffer.read()})
except SpecError as err:
    print(time.process_time() - began, len(err.findings), err.findings[0], sep="\\t")
"""

BOX = b"apiVersion: smartx.io/v1alpha1\nkind: Box\nmetadata:\n  name: a\n"
DEEP = "nested deeper than 32 levels"
MANY = "more than 100000 values in one file"


def many(line: str) -> bytes:
    """As many of these lines, numbered, as a file may hold beside a head."""
    room = FILE_BYTES_MAX - 200
    return "".join(line.format(i) for i in range(min(room // len(line.format(99999)), 99_000))).encode()


CONTENTS = {
    "brackets": (b"[" * 40_000, DEEP),
    "a megabyte of brackets": (b"[" * FILE_BYTES_MAX, DEEP),
    "brackets, a line each": (b"[\n" * (FILE_BYTES_MAX // 2), DEEP),
    "braces": (b"{a: " * (FILE_BYTES_MAX // 4), DEEP),
    "dashes": (b"- " * (FILE_BYTES_MAX // 2), DEEP),
    "steps": (b"".join(b" " * i + b"a:\n" for i in range(1_400)), DEEP),
    "keys that are mappings": (b"? " * (FILE_BYTES_MAX // 2), "a key must be text"),
    "aliases in aliases": (
        b"a: &a0 [x]\n" + b"".join(b"b%d: &a%d [*a%d]\n" % (i, i, i - 1) for i in range(1, 9_000)),
        DEEP,
    ),
    "one alias, often": (b"a: [&a x" + b", *a" * (FILE_BYTES_MAX // 4 - 9) + b"]", MANY),
    "items": (b"a: [" + b"x," * (FILE_BYTES_MAX // 2 - 9) + b"]", MANY),
    "pairs": (b"[" + b"a: b, " * (FILE_BYTES_MAX // 6 - 9) + b"]", MANY),
    "documents": (b"---\n" * (FILE_BYTES_MAX // 4), "more than 10000 documents in one file"),
    "a long key": (b"k" * (FILE_BYTES_MAX - 9) + b": 1", "not YAML: mapping values"),
    "a long quoted key": (b'? "' + b"k" * (FILE_BYTES_MAX - 9) + b'"\n: 1', "apiVersion: is missing"),
    "a long kind": (BOX.replace(b"Box", b"B" * (FILE_BYTES_MAX - 99)), "spec: is missing"),
    "tag directives": (many("%TAG !a{}! tag:x,\n") + b"--- a", "%TAG directive is not allowed"),
    "tag directives, other breaks": (many("%TAG !a{}! tag:x,\r") + b"--- a", "%TAG directive is not allowed"),
    "keys": (many("k{}: 1\n"), "apiVersion: is missing"),
    "labels": (BOX + b"  labels:\n" + many("    k{}: 1\n"), "metadata.labels.k0: must be text"),
    "fields": (BOX + b"spec:\n" + many("  underlai{}: 1\n"), "spec.underlay: is missing"),
    "kinds": (many("---\nkind: Bax{}\n"), "apiVersion: is missing"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_hostile_file_costs_a_finding_and_little_time(name: str) -> None:
    content, finding = CONTENTS[name]
    assert len(content) <= FILE_BYTES_MAX
    command = [sys.executable, "-c", LOAD]
    done = subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    seconds, findings, first = done.stdout.decode().rstrip("\n").split("\t")
    assert finding in first
    assert int(findings) <= FINDINGS_MAX
    assert float(seconds) < 4  # of the processor; about one on an idle machine
