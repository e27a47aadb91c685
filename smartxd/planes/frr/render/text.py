"""Free text of the specs as FRR keeps it, and the mark that smartxd puts before it."""

from __future__ import annotations

import ipaddress

from smartxd.objects import ObjectRef

MARK_PREFIX = "smartxd:"
"""A description begins with ``smartxd:Kind/name`` when smartxd made what it describes."""

DESCRIPTION_MAX = 255
"""Characters of a description, the mark included, or of a message. FRR 8.4 reads no line over 4 kB."""


def description(owner: ObjectRef, text: str = "") -> str:
    """The mark and the free text behind it, on one line whatever the text holds."""
    return " ".join([f"{MARK_PREFIX}{owner}", *free_text(text).split()])[:DESCRIPTION_MAX].rstrip()


def mark(description: str) -> ObjectRef | None:
    """The owner that a description names; None where it bears no mark of ours."""
    word = description.partition(" ")[0]
    if not word.startswith(MARK_PREFIX):
        return None
    try:
        return ObjectRef.parse(word.removeprefix(MARK_PREFIX))
    except ValueError:
        return None


def free_text(text: str) -> str:
    """Text as FRR keeps it in a description and as frr-reload compares it.

    Control characters, line separators and unassigned code points become blanks, and so does ``|``: vtysh
    cuts a line there, even one of a file. FRR folds blanks; frr-reload rewrites IPv6 addresses.
    """
    words = "".join(c if c.isprintable() and c != "|" else " " for c in text).split()
    return " ".join(_canonical(word) for word in words)


def _canonical(word: str) -> str:
    if ":" not in word:
        return word
    try:
        if "/" in word:
            return str(ipaddress.ip_network(word, strict=False))
        return str(ipaddress.IPv6Address(word))
    except ValueError:
        return word
