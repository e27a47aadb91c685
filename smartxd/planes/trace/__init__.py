"""Packet tracing: eBPF programs, built by BCC, pinned, and attached to interfaces."""
