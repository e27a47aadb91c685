/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Counts packets into flows, and hands packets on, at tc (TCX or clsact), on ingress and egress of any number of
 * interfaces. It is built once per trace policy, with FLOWS_MAX and LEDGER_MAX defined; its SELECTION may define
 * WITHOUT_FLOWS, and SNAP where packets are recorded. It never drops or changes a packet:
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
#include "select.h"
#include "sample.h"
#include "usual.h"
#include "amount.h"
#include "packets.h"
#include "plain.h"

#define NEXT (-1)
#define NO_ROOM (-7) /* E2BIG */
#define LEDGER_SLOTS 512
#define COST_ONE_IN 256

/* One half by bit 0 of the generation, then the other. Memory of whole pages: an entry is a line of a cache. */
BPF_F_TABLE("array", u32, struct plain_flow, plain, 2 * GROUPS * GROUP, BPF_F_MMAPABLE);
BPF_TABLE("hash", struct flow_key, struct flow_value, flows0, FLOWS_MAX);
BPF_TABLE("hash", struct flow_key, struct flow_value, flows1, FLOWS_MAX);
BPF_TABLE("percpu_array", u32, struct ledger_entry, slots0, LEDGER_SLOTS);
BPF_TABLE("percpu_array", u32, struct ledger_entry, slots1, LEDGER_SLOTS);
BPF_TABLE_PUBLIC("percpu_hash", struct ledger_key, struct ledger_entry, ledger0, LEDGER_MAX);
BPF_TABLE_PUBLIC("percpu_hash", struct ledger_key, struct ledger_entry, ledger1, LEDGER_MAX);
BPF_TABLE("hash", struct ledger_key, struct total_value, totals, LEDGER_MAX);
BPF_TABLE("percpu_array", u32, struct cost, cost, 1);
BPF_TABLE_PUBLIC("array", u32, u64, generation, 1);
/* One in so many, by bit 0 of the generation, so that one holds for the whole of it. */
BPF_TABLE("array", u32, u32, sampling, 2);
#if SAMPLING == SAMPLING_COUNT
BPF_TABLE("percpu_array", u32, u32, since_sampled, 1);
#endif

/* Packets for the capture process, one by one; without SNAP the ring is there and nothing is written to it. */
#ifndef RING_BYTES
#define RING_BYTES PAGE_SIZE
#endif
BPF_RINGBUF_OUTPUT(packets, RING_BYTES / PAGE_SIZE);
#ifdef SNAP
BPF_TABLE("percpu_array", u32, struct packet, scratch, 1);
/* A CPU that has written so much wakes the reader: before a quarter of the ring is full, and not for each record. */
#define WAKE_BYTES ((u64)RING_BYTES / 4 / CPUS)
#endif

/*
 * Behind a look-up, with the map's name: keeps clang from making one call of look-ups in two maps. The verifier
 * would not know the map of such a call, and could not inline it.
 */
#define APART(value, map) asm volatile("# " map : "+r"(value))

/* The counters of a plain flow; 0 where it has no place of its own. */
static __always_inline struct flow_value *plain_of(bool odd, struct plain_key *key, u64 now)
{
	struct places places = places_of(key, odd);

	if (!places.halves[0]) /* would look as if nobody had it; the second half is never 0 */
		return 0;
#pragma unroll
	for (u32 i = 0; i < GROUP; i++) {
		u32 index = places.group + (places.first ^ i);
		struct plain_flow *flow = plain.lookup(&index);

		if (!flow)
			return 0;
		if (is_of(flow, &places, now))
			return &flow->value;
	}
	return 0;
}

static __always_inline struct flow_value *flow_of(bool odd, struct flow_key *key, u64 now)
{
	struct flow_value *value;

	if (odd) {
		value = flows1.lookup(key);
		APART(value, "flows1");
	} else {
		value = flows0.lookup(key);
		APART(value, "flows0");
	}
	struct flow_value fresh = {.first_ns = now, .last_ns = now};

	if (value)
		return value;
	/* Another CPU may insert the same flow first: whoever did, the look-up finds it, if there was room. */
	if (odd)
		return flows1.insert(key, &fresh) == NO_ROOM ? 0 : flows1.lookup(key);
	return flows0.insert(key, &fresh) == NO_ROOM ? 0 : flows0.lookup(key);
}

/*
 * The coarse clock, which moves with the tick that counts jiffies: asked once in each of them, since jiffies are
 * read at a fraction of its cost.
 */
static __always_inline u64 now_by(struct clock *clock)
{
	u64 tick = bpf_jiffies64();

	if (clock->tick != tick) {
		clock->tick = tick;
		clock->now_ns = bpf_ktime_get_coarse_ns();
	}
	return clock->now_ns;
}

static __always_inline struct ledger_entry *ledger_behind(bool odd, struct ledger_key *key)
{
	struct ledger_entry *entry;

	if (odd) {
		entry = ledger1.lookup(key);
		APART(entry, "ledger1");
	} else {
		entry = ledger0.lookup(key);
		APART(entry, "ledger0");
	}
	struct ledger_entry fresh = {};

	if (entry)
		return entry;
	if (odd) {
		ledger1.insert(key, &fresh);
		return ledger1.lookup(key);
	}
	ledger0.insert(key, &fresh);
	return ledger0.lookup(key);
}

static __always_inline struct ledger_entry *ledger_of(bool odd, u32 ifindex, u32 direction)
{
	struct ledger_key key = {.ifindex = ifindex, .direction = direction};
	u32 index = (ifindex << 1 | direction) % LEDGER_SLOTS;
	struct ledger_entry *slot;

	if (odd) {
		slot = slots1.lookup(&index);
		APART(slot, "slots1");
	} else {
		slot = slots0.lookup(&index);
		APART(slot, "slots0");
	}
	if (!slot)
		return 0;
	if (slot->key.ifindex == ifindex)
		return slot;
	if (slot->key.ifindex)
		return ledger_behind(odd, &key);
	slot->key = key;
	return slot;
}

/* The flow's key, in *plain and true if it fits there, else in *key; the cursor then stands where parse() ends. */
static __always_inline bool identify(struct cursor *c, u8 direction, struct plain_key *plain,
				     struct flow_key *key)
{
	struct __sk_buff *skb = c->skb;
	bool fits = !skb->vlan_present && skb->ifindex <= PLAIN_IFINDEX_MAX;
	enum shape shape = recognise(c, direction, fits, plain, key);

	if (shape != UNUSUAL)
		return shape == PLAIN;
	*c = (struct cursor){.skb = skb, .end = skb->len};
	*key = (struct flow_key){.ifindex = skb->ifindex, .direction = direction};
	parse(c, key);
	if (!fits || key->has || key->outer.has != (HAS_IP4 | HAS_PORTS))
		return false;
	*plain = plain_key_of(&key->outer, skb->ifindex, direction);
	return true;
}

/* Whether a packet that the filters let through is recorded. */
static __always_inline bool sampled(u64 hash, bool odd)
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
	return one_of(mixed(mix(hash, SEED)) >> 32, *one_in);
#endif
	return true;
}

static __always_inline u32 sampled_one_in(bool odd)
{
#if SAMPLING != SAMPLING_NONE
	u32 parity = odd, *one_in = sampling.lookup(&parity);

	if (one_in)
		return *one_in;
#endif
	return 1;
}

#ifdef SNAP
/* Hand the packet to the capture process; false when the ring is full. The record's key and digest are there. */
static __always_inline bool hand_on(struct cursor *c, bool odd, struct amount *it, struct packet *p)
{
	u64 size, flags = BPF_RB_NO_WAKEUP;

	p->record.bytes = it->bytes;
	p->record.packets = it->packets;
	p->record.sampled_one_in = sampled_one_in(odd);
	size = fill_in(c->skb, p, c->offset);
	p->since_wake += size;
	if (p->since_wake > WAKE_BYTES) {
		p->since_wake = 0;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	return packets.ringbuf_output(p, size, flags) == 0;
}
#endif

static __always_inline void count_flow(struct cursor *c, bool odd, struct ledger_entry *entry, struct amount *it,
				       bool is_plain, struct plain_key *plain, struct flow_key *key)
{
#ifndef WITHOUT_FLOWS
	u64 now = now_by(&entry->clock);
	struct flow_value *flow = is_plain ? plain_of(odd, plain, now) : 0;

	if (!flow) {
		if (is_plain)
			*key = widened(plain);
		flow = flow_of(odd, key, now);
	}
	if (flow) {
		add_to_flow(flow, it, c->tcp_flags, now);
		return;
	}
	entry->value.overflow_packets += it->packets;
	entry->value.overflow_skbs += 1;
	entry->value.overflow_bytes += it->bytes;
#endif
}

static __always_inline int count(struct __sk_buff *skb, u8 direction)
{
	struct cursor c = {.skb = skb, .end = skb->len};
	bool odd, is_plain = false, is_sampled, is_selected = selected(skb);
	struct ledger_entry *entry;
	struct plain_key plain, *small = &plain;
	struct flow_key key, *whole = &key;
	struct amount it;
	u64 *generation_now, hash = 0;
	int zero = 0;

	generation_now = generation.lookup(&zero);
	if (!generation_now)
		return NEXT;
	odd = *(volatile u64 *)generation_now & 1;
	entry = ledger_of(odd, skb->ifindex, direction);
	if (!entry)
		return NEXT;
#ifdef SNAP
	struct packet *packet = scratch.lookup(&zero);

	if (!packet)
		return NEXT;
#endif
	/* Only a GSO skb must be parsed to know what it was on the wire. */
#if SAMPLING == SAMPLING_HASH
	if (is_selected)
		hash = packet_hash(skb);
#endif
	is_sampled = is_selected && sampled(hash, odd);
#ifdef SNAP
#if SAMPLING != SAMPLING_HASH
	if (is_sampled)
		hash = packet_hash(skb);
#endif
	packet->record.digest = digest_of(hash);
#endif
	if (is_sampled || skb->gso_size) {
		is_plain = identify(&c, direction, &plain, &key);
#ifdef SNAP
		is_plain = remember(packet, &c, is_plain, &plain, &key);
#endif
	}
	it = measure(skb, c.offset);
	entry->value.seen_packets += it.packets;
	entry->value.seen_skbs += 1;
	entry->value.seen_bytes += it.bytes;
	if (!is_selected) {
		entry->value.filtered_packets += it.packets;
		entry->value.filtered_skbs += 1;
		entry->value.filtered_bytes += it.bytes;
		return NEXT;
	}
	if (!is_sampled) {
		entry->value.sampled_out_packets += it.packets;
		entry->value.sampled_out_skbs += 1;
		entry->value.sampled_out_bytes += it.bytes;
		return NEXT;
	}
	if (c.damage) {
		entry->value.truncated_skbs += c.damage & TRUNCATED ? 1 : 0;
		entry->value.malformed_skbs += c.damage & MALFORMED ? 1 : 0;
	}
#ifdef SNAP
	small = &packet->plain;
	whole = &packet->record.key;
	if (!hand_on(&c, odd, &it, packet)) {
		entry->value.ring_full_packets += it.packets;
		entry->value.ring_full_skbs += 1;
		entry->value.ring_full_bytes += it.bytes;
	}
#endif
	count_flow(&c, odd, entry, &it, is_plain, small, whole);
	return NEXT;
}

/* count(), and what it costs where the policy has a budget of CPU. */
static __always_inline int run(struct __sk_buff *skb, u8 direction)
{
#ifdef MEASURED
	u32 zero = 0;
	struct cost *own = cost.lookup(&zero);

	if (!own)
		return NEXT;
	/* In memory, not in a register: the verifier would follow the program once for each of its values. */
	own->begun_ns = own->runs++ % COST_ONE_IN ? 0 : bpf_ktime_get_ns();
	count(skb, direction);
	if (own->begun_ns)
		own->measured_ns += bpf_ktime_get_ns() - own->begun_ns;
	return NEXT;
#else
	return count(skb, direction);
#endif
}

int ingress(struct __sk_buff *skb)
{
	return run(skb, INGRESS);
}

int egress(struct __sk_buff *skb)
{
	return run(skb, EGRESS);
}
