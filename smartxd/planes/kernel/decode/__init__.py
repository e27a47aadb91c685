"""rtnetlink messages decoded, a module a noun: bytes in, observed objects out."""

from smartxd.planes.kernel.decode.wire import (
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    attributes,
    error,
    messages,
)

__all__ = [
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLM_F_DUMP_INTR",
    "NLM_F_MULTI",
    "Message",
    "attributes",
    "error",
    "messages",
]
