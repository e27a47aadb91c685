"""The filters of trace policies: pcap-filter(7) text → classic BPF, compiled by libpcap without any look-up.

libpcap asks DNS, /etc/services, /etc/protocols and /etc/ethers for every word that it does not know itself.
So the text is read here first, and libpcap is given only the tokens named below, with a space between any two
so that it joins none of them into a word. The same text gives the same answer on every machine with the same
libpcap, and a hostile one reaches neither a file nor the network.

Sources: pcap-filter(7), pcap_compile(3PCAP), and the scanner and grammar of libpcap 1.10.
"""

from __future__ import annotations

import ctypes
import difflib
import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

FILTER_MAX = 1000  # characters
COMPARED_MAX = 48  # addresses and ports: libpcap 1.10 takes some 30 ms for 48, but 500 ms for 200
DEPTH_MAX = 32  # brackets
INSTRUCTIONS_MAX = 4096  # BPF_MAXINSNS of linux/bpf_common.h

_SONAMES = ("libpcap.so.0.8", "libpcap.so.1")
# 1.9 knows all the words below, and since 1.8 pcap_compile(3PCAP) may be called by several threads at once.
_VERSION_MIN = (1, 9)
_DLT_EN10MB, _SNAPLEN, _NETMASK_UNKNOWN = 1, 262144, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of classic BPF: ``struct sock_filter`` of linux/filter.h."""

    code: int
    jt: int
    jf: int
    k: int


class FilterError(ValueError):
    """A filter that cannot be used: one printable line, what is wrong and what would be right."""


class LibpcapMissing(Exception):
    """This machine has no libpcap of 1.9 or later; the message names the package."""


def compiled(expression: str) -> tuple[Instruction, ...]:
    """The filter as classic BPF for Ethernet frames; what it returns is 0 for a frame that does not match.

    Raises FilterError for text that is no filter, can never match, or needs to look up a name, and
    LibpcapMissing.
    """
    tokens = tuple(_tokens(expression))
    _check_nesting(tokens)
    _check_size(tokens)
    padded = (_START, _START, *tokens, _END)
    for before2, before, token, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        _check_word(before2.text, before.text, token)
        _check_order(before, token, after)
    return _compile(" ".join(token.text for token in tokens))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LINK = _words("ether link fddi tr wlan ppp slip")
_PROTOCOLS = _LINK | _words(
    "ip ip6 arp rarp sctp tcp udp icmp icmp6 igmp igrp pim vrrp carp ah esp atalk aarp decnet lat sca moprc "
    "mopdl iso esis es-is isis is-is clnp l1 l2 iih lsp snp csnp psnp stp ipx netbeui"
)
_QUALIFIERS = _words("src dst host net port portrange proto mask less greater")
_PRIMITIVES = _words("broadcast multicast vlan mpls pppoed pppoes geneve llc")
_LOGIC = _words("and or not")
_CONSTANTS = _words(
    "len length icmptype icmpcode icmp6type icmp6code tcpflags tcp-fin tcp-syn tcp-rst tcp-push tcp-ack "
    "tcp-urg tcp-ece tcp-cwr icmp-echoreply icmp-unreach icmp-sourcequench icmp-redirect icmp-echo "
    "icmp-routeradvert icmp-routersolicit icmp-timxceed icmp-paramprob icmp-tstamp icmp-tstampreply "
    "icmp-ireq icmp-ireqreply icmp-maskreq icmp-maskreply icmp6-destinationunreach icmp6-packettoobig "
    "icmp6-timeexceeded icmp6-parameterproblem icmp6-echo icmp6-echoreply icmp6-multicastlistenerquery "
    "icmp6-multicastlistenerreportv1 icmp6-multicastlistenerdone icmp6-routersolicit icmp6-routeradvert "
    "icmp6-neighborsolicit icmp6-neighboradvert icmp6-redirect icmp6-routerrenum icmp6-nodeinformationquery "
    "icmp6-nodeinformationresponse icmp6-ineighbordiscoverysolicit icmp6-ineighbordiscoveryadvert "
    "icmp6-multicastlistenerreportv2 icmp6-homeagentdiscoveryrequest icmp6-homeagentdiscoveryreply "
    "icmp6-mobileprefixsolicit icmp6-mobileprefixadvert icmp6-certpathsolicit icmp6-certpathadvert "
    "icmp6-multicastrouteradvert icmp6-multicastroutersolicit icmp6-multicastrouterterm"
)
_KEYWORDS = _PROTOCOLS | _QUALIFIERS | _PRIMITIVES | _LOGIC | _CONSTANTS

# Names that libpcap holds in tables of its own, by the words that they must follow.
_ETHER_PROTOCOLS = _words(
    "aarp arp atalk decnet ip ip6 ipx iso lat loopback mopdl moprc netbeui rarp sca stp"
)
_ISO_PROTOCOLS = _words("clnp esis isis")
_LLC_TYPES = _words("i s u rr rnr rej ui ua disc sabme test xid frmr")

# fmt: off
_REFUSED = {word: reason for reason, words in (
    ("cannot be told from a frame; use directions of the TracePolicy", "inbound outbound"),
    ("cannot be told from a frame; use interfaces of the TracePolicy", "ifindex ifname on"),
    ("works with names only; write: ether host MAC and not host ADDRESS", "gateway"),
    ("needs a loop, which the kernel does not run; write: proto NUMBER", "protochain"),
    ("is not documented by libpcap; write: ether[OFFSET]", "byte"),
    ("is about the packet filter of BSD; leave it out",
     "rset ruleset rnr rulenum srnr subrulenum reason action"),
    ("is about Wi-Fi; trace policies see Ethernet",
     "type subtype direction dir addr1 addr2 addr3 addr4 address1 address2 address3 address4 ra ta radio"),
    ("is about ATM; trace policies see Ethernet",
     "lane metac bcc oam oamf4 oamf4e oamf4s oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect"),
    ("is about SS7; trace policies see Ethernet",
     "fisu lssu lsu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls"),
) for word in words.split()}
# fmt: on


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    kind: str  # word, value (a number or constant), address, range, escaped, operator
    column: int  # from 1


_START, _END = _Token("", "start", 0), _Token("", "end", 0)
# In libpcap's order of preference; two colons make an address, one is the size of ``ip[6:2]``.
_SCAN = re.compile(
    r"(?P<space> +)"
    r"|(?P<colons>[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)"
    r"|(?P<word>[A-Za-z0-9][-_.A-Za-z0-9]*)"
    r"|\\(?P<escaped>[A-Za-z0-9][-_.A-Za-z0-9]*)"
    r"|(?P<operator>&&|\|\||>=|<=|!=|==|<<|>>|[-+*/%:\[\]!<>()&|^=])"
)
_MAC = re.compile(
    r"[0-9A-Fa-f]{1,2}(?P<sep>[-:.])(?:[0-9A-Fa-f]{1,2}(?P=sep)){4}[0-9A-Fa-f]{1,2}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}"
    r"|[0-9A-Fa-f]{12}"
)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]+")
_DOTTED = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_RANGE = re.compile(r"[0-9]+-[0-9]+")


def _tokens(expression: str) -> Iterator[_Token]:
    """The tokens of a filter, each of a form that libpcap reads as it is meant here."""
    if len(expression) > FILTER_MAX:
        raise FilterError(f"has {len(expression)} characters; at most {FILTER_MAX} are allowed")
    for column, ch in enumerate(expression, 1):
        if ch < " " or ch == "\x7f":
            raise FilterError(f"column {column}: a control character or line break; write it on one line")
        if ch > "~":
            raise FilterError(f"column {column}: {ch!a} is not ASCII")
    if not expression.strip():
        raise FilterError("is empty; leave the field out")
    position = 0
    while position < len(expression):
        match = _SCAN.match(expression, position)
        if not match:
            raise FilterError(f"column {position + 1}: {expression[position]!r} has no meaning in a filter")
        position = match.end()
        if match.lastgroup != "space":
            yield _token(str(match.lastgroup), match.group(), match.start() + 1)


def _token(group: str, text: str, column: int) -> _Token:
    if group in {"operator", "escaped"}:
        return _Token(text, group, column)
    if group == "colons":
        _check_colons(text)
    elif _MAC.fullmatch(text):
        pass
    elif _DOTTED.fullmatch(text):
        _check_dotted(text)
    elif _NUMBER.fullmatch(text):
        _check_number(text)
        return _Token(text, "value", column)
    elif _RANGE.fullmatch(text):
        return _Token(text, "range", column)
    else:
        return _Token(text, "value" if text in _CONSTANTS else "word", column)
    return _Token(text, "address", column)


def _check_colons(text: str) -> None:
    if _MAC.fullmatch(text):
        return
    try:
        IPv6Address(text)
    except AddressValueError:
        raise FilterError(f"{text} is neither a MAC nor an IPv6 address") from None


def _check_number(text: str) -> None:
    # C and libpcap read 010 as eight; a reader does not.
    if len(text) > 1 and text.isdigit() and text.startswith("0"):
        raise FilterError(f"{text} would be read as octal; write it without the leading 0")
    if int(text, 0) > 0xFFFFFFFF:
        raise FilterError(f"{text} does not fit into 32 bits")


def _check_dotted(text: str) -> None:
    parts = text.split(".")
    if len(parts) > 4 or any(len(part) > 3 or int(part) > 255 or str(int(part)) != part for part in parts):
        raise FilterError(f"{text} is not an IPv4 address; write up to four numbers of 0 to 255")


_AND_OR = frozenset(["and", "or", "&&", "||"])
_BEFORE_OPERAND = _AND_OR | {"", "(", "!"}
_CLOSING = {")": "(", "]": "["}
# What a name after these words would be.
_WANTED = {
    "port": "the port's number",
    "portrange": "the numbers of the ports, as in 6000-6008",
    "host": "the address",
    "net": "the prefix, as in 10.0.0.0/8",
    "mask": "the mask, as in 255.255.255.0",
    "proto": "the protocol's number",
}
_NUMBERS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "esp": 50, "ah": 51, "icmp6": 58, "sctp": 132}


def _check_nesting(tokens: Sequence[_Token]) -> None:
    """Brackets pair up, and not too deep: each level costs libpcap's parser stack."""
    opened: list[_Token] = []
    for token in tokens:
        wanted = _CLOSING.get(token.text)
        if token.text in {"(", "["}:
            opened.append(token)
        elif wanted and (not opened or opened.pop().text != wanted):
            raise FilterError(f"column {token.column}: {token.text} closes no {wanted}")
        if len(opened) > DEPTH_MAX:
            raise FilterError(f"column {token.column}: brackets are nested deeper than {DEPTH_MAX}")
    if opened:
        raise FilterError(f"column {opened[-1].column}: {opened[-1].text} is never closed")


def _check_size(tokens: Sequence[_Token]) -> None:
    """libpcap's optimiser takes time by the cube of what a filter compares with."""
    weight = 0
    for before, token in itertools.pairwise((_START, *tokens)):
        if token.kind == "range":
            weight += 2
        elif token.kind in {"value", "address"} and (before.kind == "word" or before.text in _BEFORE_OPERAND):
            weight += 1
    if weight > COMPARED_MAX:
        raise FilterError(
            f"compares with {weight} addresses and ports (a range counts twice); at most {COMPARED_MAX} are "
            "allowed: use prefixes and ranges, or several TracePolicies"
        )


def _check_word(family: str, before: str, token: _Token) -> None:
    """libpcap looks up no such token: a name stands only where libpcap has a table of its own."""
    text, kind = token.text, token.kind
    if kind == "range":
        _check_range(text, before)
    if kind not in {"word", "escaped"} or _is_builtin_name(family, before, token):
        return
    if before == "proto" and text not in _LOGIC:
        raise FilterError(_protocol_advice(family, text.removeprefix("\\")))
    if kind == "escaped":
        raise FilterError(f"{text}: a name after \\ is allowed only as in ether proto \\arp")
    if text in _KEYWORDS:
        return
    if text in _REFUSED:
        raise FilterError(f"{text} {_REFUSED[text]}")
    if before in _WANTED:
        raise FilterError(f"{text} is a name; give {_WANTED[before]}")
    close = difflib.get_close_matches(text.lower(), sorted(_KEYWORDS), n=1, cutoff=0.65)
    hint = f"did you mean {close[0]}?" if close else "names are not looked up: give the address or number"
    raise FilterError(f"{text} is no word of pcap-filter(7); {hint}")


def _check_range(text: str, before: str) -> None:
    if before != "portrange":
        raise FilterError(f"{text} is read as a range; write portrange {text}, or spaces around the -")
    low, high = map(int, text.split("-"))
    if text != f"{low}-{high}" or max(low, high) > 65535:
        raise FilterError(f"{text} is not a range of ports; they are 0 to 65535, without leading zeros")
    if low > high:
        raise FilterError(f"{text} is not a range of ports; write {high}-{low}")


def _is_builtin_name(family: str, before: str, token: _Token) -> bool:
    if before == "llc":
        return token.text in _LLC_TYPES
    if before != "proto" or (token.kind == "word" and token.text != "loopback"):
        return False
    return token.text.removeprefix("\\") in _builtin_protocols(family)


def _builtin_protocols(family: str) -> frozenset[str]:
    return _ETHER_PROTOCOLS if family in _LINK else _ISO_PROTOCOLS if family == "iso" else frozenset()


def _protocol_advice(family: str, name: str) -> str:
    if name in _builtin_protocols(family):
        return f"write {family} proto \\{name}"
    number = None if _builtin_protocols(family) else _NUMBERS.get(name)
    return f"{name} is a name; give {_WANTED['proto']}" + (f", {number}" if number else "")


def _check_order(before: _Token, token: _Token, after: _Token) -> None:
    """The commonest mistakes of order, of which libpcap says no more than "syntax error"."""
    if token.text in _AND_OR and before.text in _BEFORE_OPERAND:
        raise FilterError(f"column {token.column}: nothing stands before {token.text}")
    if after is _END and _is_open(token):
        raise FilterError(f"ends after {token.text}; something is missing")
    if _is_operand_end(before) and _begins_operand(token):
        raise FilterError(f"column {token.column}: {token.text} follows {before.text}; join them by and, or")
    if before.text == "net" and token.kind == "value" and after.text == "/":
        raise FilterError(f"net {token.text}/: write all four numbers, as in 10.0.0.0/8")
    if before.text == "ip" and token.text == "broadcast":
        raise FilterError("ip broadcast depends on the subnet of an interface; write: dst host ADDRESS")


def _is_open(token: _Token) -> bool:
    return token.text in _QUALIFIERS | _LOGIC or (token.kind == "operator" and token.text not in _CLOSING)


def _is_operand_end(token: _Token) -> bool:
    return token.kind in {"value", "address", "range", "escaped"} or token.text in _CLOSING


def _begins_operand(token: _Token) -> bool:
    if token.kind == "operator":
        return token.text in {"(", "[", "!"}
    return token.kind != "end" and token.text not in {"and", "or", "mask"}


_INSN_TYPES = (ctypes.c_uint16, ctypes.c_uint8, ctypes.c_uint8, ctypes.c_uint32)


class _Insn(ctypes.Structure):
    _fields_ = tuple(zip(("code", "jt", "jf", "k"), _INSN_TYPES, strict=True))


class _Program(ctypes.Structure):
    _fields_ = (("bf_len", ctypes.c_uint), ("bf_insns", ctypes.POINTER(_Insn)))


@functools.cache
def _libpcap() -> ctypes.CDLL:
    for soname in _SONAMES:
        try:
            library = ctypes.CDLL(soname)
        except OSError:
            continue
        _declare(library)
        version = re.search(rb"(\d+)\.(\d+)", library.pcap_lib_version())
        if version and (int(version[1]), int(version[2])) >= _VERSION_MIN:
            return library
    raise LibpcapMissing(
        "libpcap 1.9 or later is not installed; install the package libpcap0.8 (RHEL: libpcap)"
    )


def _declare(library: ctypes.CDLL) -> None:
    handle, program = ctypes.c_void_p, ctypes.POINTER(_Program)
    for name, result, arguments in (
        ("pcap_lib_version", ctypes.c_char_p, ()),
        ("pcap_open_dead", handle, (ctypes.c_int, ctypes.c_int)),
        ("pcap_compile", ctypes.c_int, (handle, program, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32)),
        ("pcap_geterr", ctypes.c_char_p, (handle,)),
        ("pcap_freecode", None, (program,)),
        ("pcap_close", None, (handle,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def _compile(text: str) -> tuple[Instruction, ...]:
    library = _libpcap()
    handle = library.pcap_open_dead(_DLT_EN10MB, _SNAPLEN)
    if not handle:
        raise MemoryError("pcap_open_dead")
    program = _Program()
    try:
        if library.pcap_compile(handle, ctypes.byref(program), text.encode(), 1, _NETMASK_UNKNOWN):
            raise FilterError(_reason(library.pcap_geterr(handle).decode("ascii", "replace")))
        if program.bf_len > INSTRUCTIONS_MAX:
            raise FilterError(f"needs {program.bf_len} instructions; at most {INSTRUCTIONS_MAX} are allowed")
        return tuple(
            Instruction(insn.code, insn.jt, insn.jf, insn.k) for insn in program.bf_insns[: program.bf_len]
        )
    finally:
        library.pcap_freecode(ctypes.byref(program))
        library.pcap_close(handle)


def _reason(message: str) -> str:
    """What libpcap says, in words that help."""
    if "syntax error" in message:
        return "is no filter; compare the order of its words with pcap-filter(7)"
    if message == "expression rejects all packets":
        return "can never match; no frame is all that it asks for"
    return "".join(ch if ch.isprintable() else "?" for ch in message)
