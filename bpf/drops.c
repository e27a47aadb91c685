/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Counts the packets that the kernel drops, by reason, place in the kernel, interface and flow: a raw tracepoint on
 * kfree_skb. It is built once per trace policy that asks for drops, beside flows.c, whose generation and ledger it
 * shares, with DROPS_MAX and WATCHED_MAX defined, and where the running kernel has the fields of its structs:
 * STRUCT_FIELD for each of them, by planes/trace/fields.py from BTF.
 *
 * The kernel's tracepoint is one for all network namespaces; an skb is looked at only if it is of an interface in
 * `watched`. An skb that is dropped may be anywhere on its way: without an Ethernet header yet, or without a device.
 * What it has not is left out, and nothing is taken for what it is not: `dev` shares its place with other things, but
 * those do not lead to the namespace.
 */
#include "copy.h"
#include "select.h"
#include "amount.h"

#define MAC_UNSET 0xffff
#define TAGS_AND_HEADER_MAX (ETH_HLEN + VLAN_TAGS_MAX * TAG_BYTES)
#define POINTER_OF_DST (~1ULL) /* bit 0: whether it is counted */

BPF_TABLE("hash", struct watched_key, u32, watched, WATCHED_MAX);
BPF_TABLE("hash", struct drop_key, struct flow_value, drops0, DROPS_MAX);
BPF_TABLE("hash", struct drop_key, struct flow_value, drops1, DROPS_MAX);
BPF_TABLE("percpu_array", u32, struct copy, copies, 1);
BPF_TABLE("extern", struct ledger_key, struct ledger_entry, ledger0, LEDGER_MAX);
BPF_TABLE("extern", struct ledger_key, struct ledger_entry, ledger1, LEDGER_MAX);
BPF_TABLE("extern", u32, u64, generation, 1);

struct skb {
	u8 bytes[SK_BUFF_SIZE] __attribute__((aligned(8)));
};

BPF_TABLE("percpu_array", u32, struct skb, skbs, 1);

/* What of an skb says where its packet is. */
struct position {
	u64 head;
	u32 data, tail, end; /* offsets from head, as are those below */
	u32 mac, network;
	u32 len;
	u16 protocol;
	u16 tag[2]; /* as on the wire */
	bool has_tag;
};

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

/*
 * The interface of an skb: that on which the socket's packet came, else its device, else, of a packet on its way out,
 * that of its route. Queues of sockets keep something else where the device was.
 */
static __always_inline bool find_interface(u64 skb, u64 receiver, struct watched_key *key)
{
	u64 pointer = 0;

	if (receiver && READ(&key->ifindex, skb, SK_BUFF_SKB_IIF) && key->ifindex &&
	    READ(&pointer, receiver, SOCK___SK_COMMON_SKC_NET_NET) && namespace_of(pointer, key))
		return true;
	if (READ(&pointer, skb, SK_BUFF_DEV) && pointer)
		return interface_of(pointer, key);
	if (!READ(&pointer, skb, SK_BUFF__SKB_REFDST))
		return false;
	pointer &= POINTER_OF_DST;
	return pointer && READ(&pointer, pointer, DST_ENTRY_DEV) && interface_of(pointer, key);
}

/* A field of the skb that was copied whole, which costs little more than to read one of its fields. */
#define FIELD(type, skb, at) (*(type *)((skb)->bytes + (at)))

static __always_inline bool has_tag(struct skb *skb)
{
#ifdef SK_BUFF_VLAN_ALL
	return FIELD(u32, skb, SK_BUFF_VLAN_ALL);
#else
	return FIELD(u8, skb, SK_BUFF_VLAN_PRESENT) >> SK_BUFF_VLAN_PRESENT_BIT & 1;
#endif
}

static __always_inline bool find_position(u64 at, struct skb *skb, struct position *p)
{
	if (bpf_probe_read_kernel(skb->bytes, SK_BUFF_SIZE, (void *)at))
		return false;
	p->head = FIELD(u64, skb, SK_BUFF_HEAD);
	p->data = FIELD(u64, skb, SK_BUFF_DATA) - p->head;
	p->tail = FIELD(u32, skb, SK_BUFF_TAIL);
	p->end = FIELD(u32, skb, SK_BUFF_END);
	p->len = FIELD(u32, skb, SK_BUFF_LEN);
	p->mac = FIELD(u16, skb, SK_BUFF_MAC_HEADER);
	p->network = FIELD(u16, skb, SK_BUFF_NETWORK_HEADER);
	p->protocol = FIELD(u16, skb, SK_BUFF_PROTOCOL);
	p->has_tag = has_tag(skb);
	p->tag[0] = FIELD(u16, skb, SK_BUFF_VLAN_PROTO);
	p->tag[1] = be16(FIELD(u16, skb, SK_BUFF_VLAN_TCI));
	return true;
}

/*
 * Whether an Ethernet header is where the skb says. That offset outlives what was there: a packet that was forwarded,
 * or put into a tunnel, still has that of the frame it came in until it gets a new one. So it counts only if it is
 * not behind where the packet begins, and the IP header follows it, or is not known yet.
 */
static __always_inline bool has_ethernet(struct position *p)
{
	u32 between = p->network - p->mac;

	if (p->mac == MAC_UNSET || p->mac > p->data || p->mac + ETH_HLEN > p->tail)
		return false;
	return p->network < p->mac || !p->network ||
	       between == ETH_HLEN || between == ETH_HLEN + TAG_BYTES || between == TAGS_AND_HEADER_MAX;
}

/* From `from` bytes of the skb to `at` bytes of the copy, as far as there is room and the skb is linear. */
static __always_inline void copy_from(struct copy *copy, struct position *p, u32 from, u32 at)
{
	u32 length = from < p->tail ? p->tail - from : 0;

	if (length > COPY_MAX - at)
		length = COPY_MAX - at;
	asm volatile("%0 &= 511" : "+r"(length));
	if (bpf_probe_read_kernel(copy->bytes + at, length, (void *)(p->head + from)) == 0)
		copy->captured = at + length;
}

/* The frame as it is, or would be, on the wire: a packet that has no Ethernet header yet gets one without addresses. */
static __always_inline bool take_copy(struct copy *copy, struct position *p)
{
	bool ethernet = has_ethernet(p);
	u32 start, at = TAG_AT;

	copy->vlan_present = copy->vlan_tci = 0;
	if (ethernet) {
		start = p->mac + TAG_AT;
		if (bpf_probe_read_kernel(copy->bytes, TAG_AT, (void *)(p->head + p->mac)))
			return false;
	} else {
		start = p->network ? p->network : p->data;
		__builtin_memset(copy->bytes, 0, TAG_AT);
	}
	if (p->has_tag) {
		__builtin_memcpy(copy->bytes + at, p->tag, TAG_BYTES);
		at += TAG_BYTES;
	}
	if (!ethernet) {
		__builtin_memcpy(copy->bytes + at, &p->protocol, sizeof(p->protocol));
		at += sizeof(p->protocol);
	}
	copy->captured = at;
	copy->len = at + p->len + p->data - start;
	if (ethernet || p->network)
		copy_from(copy, p, start, at);
	return true;
}

static __always_inline bool find_segments(struct copy *copy, struct position *p)
{
	u64 shared = p->head + p->end;
	u16 size = 0, segments = 0;

	if (!READ(&size, shared, SKB_SHARED_INFO_GSO_SIZE) || !READ(&segments, shared, SKB_SHARED_INFO_GSO_SEGS))
		return false;
	copy->gso_size = size;
	copy->gso_segs = segments;
	return true;
}

static __always_inline struct ledger_entry *ledger_of(bool odd, u32 ifindex)
{
	struct ledger_key key = {.ifindex = ifindex, .direction = DROPPED};
	struct ledger_entry fresh = {}, *entry;

	entry = odd ? ledger1.lookup(&key) : ledger0.lookup(&key);
	if (entry)
		return entry;
	if (odd) {
		ledger1.insert(&key, &fresh);
		return ledger1.lookup(&key);
	}
	ledger0.insert(&key, &fresh);
	return ledger0.lookup(&key);
}

static __always_inline struct flow_value *value_of(bool odd, struct drop_key *key, u64 now)
{
	struct flow_value fresh = {.first_ns = now, .last_ns = now}, *value;

	value = odd ? drops1.lookup(key) : drops0.lookup(key);
	if (value)
		return value;
	/* Another CPU may insert the same first: whoever did, the look-up finds it. */
	if (odd) {
		drops1.insert(key, &fresh);
		return drops1.lookup(key);
	}
	drops0.insert(key, &fresh);
	return drops0.lookup(key);
}

static __always_inline void count(struct copy *copy, u32 ifindex, u32 reason, u64 location)
{
	struct drop_key key = {.location = location, .reason = reason};
	struct cursor c = {.skb = copy, .end = copy->len};
	u32 zero = 0;
	u64 *generation_now = generation.lookup(&zero), now;
	struct ledger_entry *entry;
	struct flow_value *value;
	struct amount it;
	bool odd;

	if (!generation_now)
		return;
	odd = *(volatile u64 *)generation_now & 1;
	entry = ledger_of(odd, ifindex);
	if (!entry)
		return;
	key.flow.ifindex = ifindex;
	key.flow.direction = DROPPED;
	parse(&c, &key.flow);
	it = measure(copy, c.offset);
	entry->value.seen_packets += it.packets;
	entry->value.seen_skbs += 1;
	entry->value.seen_bytes += it.bytes;
	if (!selected(copy)) {
		entry->value.filtered_packets += it.packets;
		entry->value.filtered_skbs += 1;
		entry->value.filtered_bytes += it.bytes;
		return;
	}
	now = bpf_ktime_get_ns(); /* tracing programs have no coarse clock */
	value = value_of(odd, &key, now);
	if (!value) {
		entry->value.overflow_packets += it.packets;
		entry->value.overflow_skbs += 1;
		entry->value.overflow_bytes += it.bytes;
		return;
	}
	add_to_flow(value, &it, c.tcp_flags, now);
}

int dropped(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skb = ctx->args[0], location = ctx->args[1], receiver = 0;
	u32 zero = 0, reason = ctx->args[2];
	struct watched_key interface = {};
	struct position p = {};
	struct copy *copy;
	struct skb *raw;

#ifdef HAS_RECEIVER
	receiver = ctx->args[3];
#endif
	if (reason == SKB_NOT_DROPPED_YET || reason == SKB_CONSUMED)
		return 0;
	if (!find_interface(skb, receiver, &interface) || !watched.lookup(&interface))
		return 0;
	copy = copies.lookup(&zero);
	raw = skbs.lookup(&zero);
	if (copy && raw && find_position(skb, raw, &p) && find_segments(copy, &p) && take_copy(copy, &p))
		count(copy, interface.ifindex, reason, location);
	return 0;
}
