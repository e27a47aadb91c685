/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a packet was on the wire, and how a flow takes it in. */
#pragma once
#include "parse.h"

struct amount {
	u64 packets;
	u64 bytes;
};

/* What the skb was on the wire, given the length of its headers. */
static __always_inline struct amount measure(PACKET *skb, u32 headers)
{
	u32 tag = skb->vlan_present ? 4 : 0;
	struct amount it = {.packets = 1, .bytes = skb->len + tag};

	if (!skb->gso_size)
		return it;
	it.packets = skb->gso_segs;
	/* A guest's or a file's GSO skb may come without a count of its segments. */
	if (!it.packets && skb->len > headers)
		it.packets = (skb->len - headers + skb->gso_size - 1) / skb->gso_size;
	if (!it.packets)
		it.packets = 1;
	it.bytes += (it.packets - 1) * (headers + tag);
	return it;
}

static __always_inline void add_to_flow(struct flow_value *flow, struct amount *it, u8 tcp_flags, u64 now)
{
	__sync_fetch_and_add(&flow->skbs, 1);
	__sync_fetch_and_add(&flow->bytes, it->bytes);
	if (it->packets > 1)
		__sync_fetch_and_add(&flow->more_packets, it->packets - 1);
	if ((flow->tcp_flags & tcp_flags) != tcp_flags)
		__sync_fetch_and_or(&flow->tcp_flags, tcp_flags);
	if (now > flow->last_ns)
		flow->last_ns = now;
}
