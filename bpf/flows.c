/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Counts packets into flows at tc (TCX or clsact), on ingress and egress of any number of interfaces. It is
 * built once per trace policy, with FLOWS_MAX and LEDGER_MAX defined. It never drops or changes a packet:
 * each return is "next" (TC_ACT_UNSPEC, TCX_NEXT), so that programs of others decide as without it.
 *
 * Two sets of maps; bit 0 of `generation` says which one is written to. The capture process stores
 * generation + 1, waits an RCU grace period, and then has the other set to itself. A store of u64 that tears
 * would do no harm, because only the lowest byte is looked at.
 *
 * Bytes are what the wire carries without preamble and FCS: the skb from its Ethernet header on, four more
 * for a VLAN tag held beside it, and for a GSO skb the headers once more for each further segment: up to and
 * including the innermost TCP or UDP header that the parser knows. Inside an unknown tunnel (GRE, IPsec,
 * VXLAN on another port) that is the outer part only.
 */
#include "parse.h"
#include "select.h"
#include "sample.h"

#define NEXT (-1)

BPF_TABLE("hash", struct flow_key, struct flow_value, flows0, FLOWS_MAX);
BPF_TABLE("hash", struct flow_key, struct flow_value, flows1, FLOWS_MAX);
BPF_TABLE("percpu_hash", struct ledger_key, struct ledger_value, ledger0, LEDGER_MAX);
BPF_TABLE("percpu_hash", struct ledger_key, struct ledger_value, ledger1, LEDGER_MAX);
BPF_TABLE("hash", struct ledger_key, struct total_value, totals, LEDGER_MAX);
BPF_TABLE("array", u32, u64, generation, 1);
/* One in so many, by bit 0 of the generation, so that one holds for the whole of it. */
BPF_TABLE("array", u32, u32, sampling, 2);
#if SAMPLING == SAMPLING_COUNT
BPF_TABLE("percpu_array", u32, u32, since_sampled, 1);
#endif

static __always_inline struct flow_value *flow_of(bool odd, struct flow_key *key, u64 now)
{
	struct flow_value fresh = {.first_ns = now, .last_ns = now};
	struct flow_value *value = odd ? flows1.lookup(key) : flows0.lookup(key);

	if (value)
		return value;
	/* Another CPU may insert the same flow first: whoever did, the look-up finds it. */
	if (odd) {
		flows1.insert(key, &fresh);
		return flows1.lookup(key);
	}
	flows0.insert(key, &fresh);
	return flows0.lookup(key);
}

static __always_inline struct ledger_value *ledger_of(bool odd, struct ledger_key *key)
{
	struct ledger_value fresh = {};
	struct ledger_value *value = odd ? ledger1.lookup(key) : ledger0.lookup(key);

	if (value)
		return value;
	if (odd) {
		ledger1.insert(key, &fresh);
		return ledger1.lookup(key);
	}
	ledger0.insert(key, &fresh);
	return ledger0.lookup(key);
}

/* Wire packets of an skb whose headers are `headers` bytes long. */
static __always_inline u64 segments(struct __sk_buff *skb, u32 headers)
{
	if (skb->gso_segs)
		return skb->gso_segs;
	/* A guest's or a file's GSO skb may come without a count of its segments. */
	if (skb->gso_size && skb->len > headers)
		return (skb->len - headers + skb->gso_size - 1) / skb->gso_size;
	return 1;
}

/* Whether a packet that the filters let through is recorded. */
static __always_inline bool sampled(struct __sk_buff *skb, bool odd)
{
#if SAMPLING != SAMPLING_NONE
	u32 parity = odd, *one_in = sampling.lookup(&parity);

	if (!one_in)
		return true;
#endif
#if SAMPLING == SAMPLING_COUNT
	u32 zero = 0, *since = since_sampled.lookup(&zero);

	if (!since || ++*since < *one_in)
		return false;
	*since = 0;
#elif SAMPLING == SAMPLING_RANDOM
	return one_of(bpf_get_prandom_u32(), *one_in);
#elif SAMPLING == SAMPLING_HASH
	return one_of(packet_hash(skb, SEED), *one_in);
#endif
	return true;
}

static __always_inline int count(struct __sk_buff *skb, u8 direction)
{
	struct flow_key key = {};
	struct cursor c = {.skb = skb};
	struct ledger_key interface = {.ifindex = skb->ifindex, .direction = direction};
	u64 packets, bytes, now;
	struct ledger_value *ledger;
	struct flow_value *flow;
	u64 *generation_now;
	u32 tag = skb->vlan_present ? 4 : 0;
	bool odd, wanted = selected(skb), chosen;
	int zero = 0;

	generation_now = generation.lookup(&zero);
	if (!generation_now)
		return NEXT;
	odd = *(volatile u64 *)generation_now & 1;

	key.ifindex = skb->ifindex;
	key.direction = direction;
	/* Only a GSO skb must be parsed to know what it was on the wire. */
	chosen = wanted && sampled(skb, odd);
	if (chosen || skb->gso_size)
		parse(&c, &key);
	packets = segments(skb, c.offset);
	bytes = skb->len + tag + (packets - 1) * (c.offset + tag);

	ledger = ledger_of(odd, &interface);
	if (!ledger)
		return NEXT;
	ledger->seen_packets += packets;
	ledger->seen_skbs += 1;
	ledger->seen_bytes += bytes;
	if (!wanted) {
		ledger->filtered_packets += packets;
		ledger->filtered_skbs += 1;
		ledger->filtered_bytes += bytes;
		return NEXT;
	}
	if (!chosen) {
		ledger->sampled_out_packets += packets;
		ledger->sampled_out_skbs += 1;
		ledger->sampled_out_bytes += bytes;
		return NEXT;
	}

	now = bpf_ktime_get_coarse_ns();
	flow = flow_of(odd, &key, now);
	if (!flow) {
		ledger->overflow_packets += packets;
		ledger->overflow_skbs += 1;
		ledger->overflow_bytes += bytes;
		return NEXT;
	}
	__sync_fetch_and_add(&flow->packets, packets);
	__sync_fetch_and_add(&flow->skbs, 1);
	__sync_fetch_and_add(&flow->bytes, bytes);
	if ((flow->tcp_flags & c.tcp_flags) != c.tcp_flags)
		__sync_fetch_and_or(&flow->tcp_flags, c.tcp_flags);
	if (now > flow->last_ns)
		flow->last_ns = now;
	return NEXT;
}

int ingress(struct __sk_buff *skb)
{
	return count(skb, INGRESS);
}

int egress(struct __sk_buff *skb)
{
	return count(skb, EGRESS);
}
