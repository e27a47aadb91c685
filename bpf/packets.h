/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A packet as a record of itself. SNAP says how many bytes of it are kept, or SNAP_HEADERS.
 */
#pragma once
#include "records.h"
#include "sample.h"

#define SNAP_HEADERS (-1)
#define SNAP_MAX 256

/* Where a CPU puts a record together: the ring takes records of several lengths only whole. */
struct packet {
	struct packet_record record;
	u8 data[2 * SNAP_MAX + TAG_AT + TAG_BYTES]; /* more than is kept: room for any length that bounded() gives */
	u64 since_wake; /* bytes */
	struct plain_key plain; /* of its flow, if */
	u8 is_plain;
	u8 damage;
	u32 headers; /* bytes */
};

/* The same number, below 2 * SNAP_MAX, so that the verifier knows it of the very register that is used. */
static __always_inline u64 bounded(u64 length)
{
	asm volatile("%0 &= 0x1ff" : "+r"(length));
	return length;
}

static __always_inline bool copy(struct __sk_buff *skb, u32 offset, u8 *to, u64 length)
{
	length = bounded(length);
	return length == 0 || bpf_skb_load_bytes(skb, offset, to, length) == 0;
}

/* The first bytes of the frame as it is on the wire; how many. */
static __always_inline u64 snap(struct __sk_buff *skb, u8 *data, u64 length)
{
	u16 tag[] = {skb->vlan_proto, be16(skb->vlan_tci)};

	if (!skb->vlan_present)
		return copy(skb, 0, data, length) ? length : 0;
	if (!copy(skb, 0, data, TAG_AT))
		return 0;
	__builtin_memcpy(data + TAG_AT, tag, sizeof(tag));
	if (length <= TAG_AT + TAG_BYTES)
		return length;
	return copy(skb, TAG_AT, data + TAG_AT + TAG_BYTES, length - TAG_AT - TAG_BYTES) ? length : 0;
}

/* Tells a packet from others, on every box and interface alike: as many bits as a number of JSON holds. */
static __always_inline u64 digest_of(u64 hash)
{
	return mixed(hash) >> 11;
}

/* What has a small key, with a whole one. */
static __always_inline struct flow_key widened(struct plain_key *plain)
{
	struct flow_key key = {
		.outer = {
			.src_ip = {plain->src_ip},
			.dst_ip = {plain->dst_ip},
			.src_port = plain->src_port,
			.dst_port = plain->dst_port,
			.ethertype = ETH_P_IP,
			.protocol = plain->place,
			.has = HAS_IP4 | HAS_PORTS,
		},
		.ifindex = plain->place >> 9,
		.direction = plain->place >> 8 & 1,
	};
	return key;
}

/*
 * Notes what the parser found where the verifier knows nothing of what is read back: else it would go through all that
 * follows once for each way through the parser. Whether the flow has a small key is returned.
 */
static __always_inline bool remember(struct packet *p, struct cursor *c, bool is_plain, struct plain_key *plain,
				     struct flow_key *key)
{
	p->is_plain = is_plain;
	if (is_plain)
		p->plain = *plain;
	p->record.key = is_plain ? widened(plain) : *key;
	p->record.tcp_flags = c->tcp_flags;
	p->headers = c->offset;
	p->damage = c->damage;
	c->tcp_flags = *(volatile u8 *)&p->record.tcp_flags;
	c->offset = *(volatile u32 *)&p->headers;
	c->damage = *(volatile u8 *)&p->damage;
	return *(volatile u8 *)&p->is_plain;
}

#ifdef SNAP
/* Fills in what a record says of the frame itself; its bytes. `headers` is where the parser has come to. */
static __always_inline u64 fill_in(struct __sk_buff *skb, struct packet *p, u32 headers)
{
	u32 length = skb->len + (skb->vlan_present ? TAG_BYTES : 0);

	p->record.unused = 0;
	p->record.length = length;
	p->record.gso_size = skb->gso_size;
#ifdef HAS_TAI
	p->record.time_ns = bpf_ktime_get_tai_ns();
	p->record.clock = CLOCK_IS_TAI;
#else
	p->record.time_ns = bpf_ktime_get_ns();
#endif
#if SNAP == SNAP_HEADERS
	headers += length - skb->len;
#else
	headers = SNAP;
#endif
	if (length > headers)
		length = headers;
	if (length > SNAP_MAX)
		length = SNAP_MAX;
	length = snap(skb, p->data, length);
	p->record.captured = length;
	return sizeof(p->record) + bounded(length);
}
#endif
