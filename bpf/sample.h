/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Hash-based selection (RFC 5475): what no bridge, router or tunnel changes in the innermost IP packet decides,
 * so that every box and interface with one seed chooses the same packets. That is: addresses, protocol, the IP
 * ID; of a packet that is no fragment also ports or ICMP type, code and ID, TCP sequence and acknowledgement, and
 * the first bytes of the payload. No checksum, because one that the hardware is to write is not there yet; no
 * length, flag or option of TCP, because they are those of the aggregate in a GSO skb, which is chosen as its
 * first segment would be. Of a frame without IP: its addresses, type and first bytes.
 */
#pragma once
#include "select.h"

#define PAYLOAD_BYTES 16

/* One number in `in`; what is chosen for 2n is chosen for n as well. */
static __always_inline bool one_of(u32 number, u32 in)
{
	return (u64)number * in >> 32 == 0;
}

/* A step is reversible, so that no two words of a packet are confused. */
static __always_inline u64 mix(u64 hash, u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15;
	return hash ^ hash >> 32;
}

/* Its upper bits are the better ones. */
static __always_inline u64 mixed(u64 hash)
{
	hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccd;
	return (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53;
}

/* `words` of four bytes, as far as the packet has them. */
static __always_inline u64 mix_words(struct frame *f, u32 at, u32 words, u64 hash)
{
#pragma unroll
	for (u32 i = 0; i < words; i++) {
		u32 word = 0;

		packet_load32(f, at + 4 * i, &word);
		hash = mix(hash, word);
	}
	return hash;
}

static __always_inline u64 mix_payload(struct frame *f, u32 at, u32 end, u64 hash)
{
	u32 size = f->skb->gso_size;

	at = forgotten(at);
	if (size && end > at + size)
		end = at + size;
	for (u32 i = 0; i < PAYLOAD_BYTES / 4; i++, at += 4) {
		u32 word = 0, byte;

		if (at + 4 <= end) {
			packet_load32(f, at, &word);
			hash = mix(hash, word);
			continue;
		}
		for (u32 j = 0; j < 3; j++) {
			if (at + j < end && packet_load8(f, at + j, &byte))
				word = word << 8 | byte;
		}
		return mix(hash, word);
	}
	return hash;
}

/* What follows an IP header: `whole` unless it is a fragment, or there is no end to the headers before it. */
struct upper {
	u32 at, end, protocol;
	bool whole;
};

static __always_inline u64 mix_ip4(struct frame *f, u32 at, struct upper *t, u64 hash)
{
	u32 first = 0, second = 0, header;

	packet_load32(f, at, &first);
	packet_load32(f, at + 4, &second);
	packet_load8(f, at + 9, &t->protocol);
	header = (first >> 24 & 0xf) * 4;
	t->at = at + header;
	/* The length of a very large aggregate is not in its header. */
	t->end = first & 0xffff ? at + (first & 0xffff) : f->skb->len;
	t->whole = first >> 28 == 4 && header >= 20 && !(second & 0x3fff); /* more fragments, offset */
	return mix(mix_words(f, at + 12, 2, hash), second >> 16); /* its ID */
}

static __always_inline u64 mix_ip6(struct frame *f, u32 at, struct upper *t, u64 hash)
{
	u32 length = 0, value;

	packet_load16(f, at + 4, &length);
	packet_load8(f, at + 6, &t->protocol);
	hash = mix_words(f, at + 8, 8, hash);
	t->end = length ? at + 40 + length : f->skb->len;
	t->at = at + 40;
	for (int i = 0; i < IP6_EXTENSIONS_MAX; i++) {
		u32 next = t->protocol;

		t->whole = next != IP6_HOPOPTS && next != IP6_ROUTING && next != IP6_DSTOPTS &&
			   next != IP6_AUTH && next != IP6_FRAGMENT;
		if (t->whole || !packet_load32(f, t->at, &value))
			break;
		t->protocol = value >> 24;
		if (next == IP6_FRAGMENT)
			return mix_words(f, t->at + 4, 1, hash); /* its ID */
		t->at += ((value >> 16 & 0xff) + (next == IP6_AUTH ? 2 : 1)) * (next == IP6_AUTH ? 4 : 8);
		t->at = forgotten(t->at);
	}
	return hash;
}

static __always_inline u64 mix_upper(struct frame *f, struct upper *t, u64 hash)
{
	u32 at = forgotten(t->at), first = 0, header = 0;

	hash = mix(hash, t->protocol);
	if (!t->whole)
		return hash;
	packet_load32(f, at, &first);
	if (t->protocol == IPPROTO_TCP) {
		packet_load8(f, at + 12, &header);
		header = (header >> 4) * 4;
		hash = mix_words(f, at + 4, 2, hash);
	} else if (t->protocol == IPPROTO_UDP || t->protocol == IP_SCTP) {
		header = 8;
	} else if (t->protocol == IPPROTO_ICMP || t->protocol == IP6_ICMP) {
		header = 4;
		first &= 0xffff0000;
	}
	return mix_payload(f, at + header, t->end, mix(hash, first));
}

/* Of the packet alone: what is chosen by it is mixed() once more, with a seed. */
static __always_inline u64 packet_hash(struct __sk_buff *skb)
{
	struct frame outer, inner;
	struct upper t = {};
	u64 hash = 0;
	u32 at, type = 0;

	frame_of(skb, &outer);
	at = frame_inside(&outer, &inner) ? inner.at : 0;
	packet_load16(&outer, at + TAG_AT, &type);
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		at += TAG_BYTES;
		packet_load16(&outer, at + TAG_AT, &type);
	}
	at = forgotten(at);
	if (type == ETH_P_IP)
		hash = mix_ip4(&outer, at + ETH_HLEN, &t, hash);
	else if (type == ETH_P_IPV6)
		hash = mix_ip6(&outer, at + ETH_HLEN, &t, hash);
	else
		return mix_words(&outer, at + ETH_HLEN, 6, mix(hash, type));
	return mix_upper(&outer, &t, hash);
}
