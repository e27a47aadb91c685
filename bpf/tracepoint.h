/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What programs on the kernel's own tracepoints share. They are built with WATCHED_MAX and LEDGER_MAX defined, and where
 * the running kernel has the fields of its structs: STRUCT_FIELD for each of them, by planes/trace/fields.py from BTF.
 *
 * A tracepoint is one for all network namespaces: what is not of an interface in `watched` is not looked at. Generation
 * and ledger are those of flows.c. BCC knows maps only in the file that it is given, so each file asks them itself.
 */
#pragma once
#include "records.h"

#define READ(to, base, at) (bpf_probe_read_kernel(to, sizeof(*(to)), (void *)((base) + (at))) == 0)

static __always_inline bool namespace_of(u64 net, struct watched_key *key)
{
	return net && READ(&key->netns, net, NET_NS_INUM);
}

static __always_inline bool interface_of(u64 dev, struct watched_key *key)
{
	u64 net = 0;

	return dev && READ(&net, dev, NET_DEVICE_ND_NET_NET) && namespace_of(net, key) &&
	       READ(&key->ifindex, dev, NET_DEVICE_IFINDEX);
}
