/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The packets that nearly all are: TCP and UDP over IP without options, extension headers and fragments, with no VLAN
 * tag or one, and the same inside VXLAN. They are read in place, at few offsets. Whatever is not exactly so, damaged or
 * merely beyond the linear data, is left to parse(), which finds the same in each packet that both of them know.
 */
#pragma once
#include "parse.h"

#define IP4_PLAIN 0x45 /* version 4, five words */

enum shape { UNUSUAL, PLAIN, OTHER };

/* The transport header at `at`, of a packet of which `room` bytes are left there; what is behind, or 0. */
static __always_inline u8 *read_transport(struct cursor *c, u8 *at, u8 *linear_end, u32 room, struct tuple *t)
{
	struct udp_header *udp = (void *)at;
	struct tcp_header *tcp = (void *)at;

	if ((u8 *)(udp + 1) > linear_end)
		return 0;
	t->src_port = be16(udp->ports.src);
	t->dst_port = be16(udp->ports.dst);
	if (t->protocol == IPPROTO_UDP) {
		c->offset += sizeof(*udp);
		return be16(udp->length) == room && room >= sizeof(*udp) ? (u8 *)(udp + 1) : 0;
	}
	if (t->protocol == IPPROTO_TCP && (u8 *)(tcp + 1) <= linear_end) {
		u32 length = (tcp->words >> 4) * 4;

		c->offset += length;
		c->tcp_flags = tcp->flags;
		return length >= 20 && length <= room ? (u8 *)(tcp + 1) : 0;
	}
	return 0;
}

/* The IP packet at `at`, in a frame of which `room` bytes are left there; what is behind its headers, or 0. */
static __always_inline u8 *read_layer(struct cursor *c, u8 *at, u8 *linear_end, u16 ethertype, u32 room, struct tuple *t)
{
	struct ip4_header *ip4 = (void *)at;
	struct ip6_header *ip6 = (void *)at;
	u32 length;

	if (ethertype == be16(ETH_P_IP)) {
		if ((u8 *)(ip4 + 1) > linear_end || ip4->version_words != IP4_PLAIN || ip4->fragment & be16(0x3fff))
			return 0;
		length = be16(ip4->length);
		if (length < sizeof(*ip4) || length > room)
			return 0;
		c->offset += sizeof(*ip4);
		t->src_ip[0] = ip4->src;
		t->dst_ip[0] = ip4->dst;
		t->ethertype = ETH_P_IP;
		t->protocol = ip4->protocol;
		t->has = HAS_IP4 | HAS_PORTS;
		return read_transport(c, (u8 *)(ip4 + 1), linear_end, length - sizeof(*ip4), t);
	}
	if (ethertype == be16(ETH_P_IPV6)) {
		if ((u8 *)(ip6 + 1) > linear_end || *at >> 4 != 6)
			return 0;
		length = be16(ip6->length);
		if (sizeof(*ip6) + length > room)
			return 0;
		c->offset += sizeof(*ip6);
		__builtin_memcpy(t->src_ip, ip6->src, sizeof(ip6->src));
		__builtin_memcpy(t->dst_ip, ip6->dst, sizeof(ip6->dst));
		t->ethertype = ETH_P_IPV6;
		t->protocol = ip6->next;
		t->has = HAS_IP6 | HAS_PORTS;
		return read_transport(c, (u8 *)(ip6 + 1), linear_end, length, t);
	}
	return 0;
}

static __always_inline struct plain_key plain_key_of(struct tuple *t, u32 ifindex, u8 direction)
{
	struct plain_key key = {
		.src_ip = t->src_ip[0],
		.dst_ip = t->dst_ip[0],
		.src_port = t->src_port,
		.dst_port = t->dst_port,
		.place = ifindex << 9 | direction << 8 | t->protocol,
	};
	return key;
}

/*
 * The key of a packet that is as most are: in *plain, and nothing of it in *key, where it `fits` there. The cursor then
 * stands where parse() leaves it.
 */
static __always_inline enum shape recognise(struct cursor *c, u8 direction, bool fits, struct plain_key *plain,
					    struct flow_key *key)
{
	struct __sk_buff *skb = c->skb;
	u8 *data = (void *)(long)skb->data, *linear_end = (void *)(long)skb->data_end, *at = data + ETH_HLEN;
	struct ethernet_header *frame = (void *)data;
	u16 ethertype;
	u32 room;

	if (at > linear_end)
		return UNUSUAL;
	*key = (struct flow_key){.ifindex = skb->ifindex, .direction = direction};
	c->offset = ETH_HLEN;
	ethertype = frame->ethertype;
	if (ethertype == be16(ETH_P_8021Q)) {
		struct vlan_tag *tag = (void *)at;

		at = (void *)(tag + 1);
		if (at > linear_end)
			return UNUSUAL;
		c->offset += sizeof(*tag);
		key->vlan = be16(tag->tci) & 0xfff;
		key->has = HAS_VLAN;
		ethertype = tag->ethertype;
	}
	at = read_layer(c, at, linear_end, ethertype, skb->len - c->offset, &key->outer);
	if (!at)
		return UNUSUAL;
	if (key->outer.dst_port != VXLAN_PORT || key->outer.protocol != IPPROTO_UDP) {
		if (fits && !key->has && ethertype == be16(ETH_P_IP)) {
			*plain = plain_key_of(&key->outer, skb->ifindex, direction);
			return PLAIN;
		}
	} else {
		struct vxlan_header *vxlan = (void *)at;

		frame = (void *)(vxlan + 1);
		at = (void *)(frame + 1);
		c->offset += sizeof(*vxlan) + sizeof(*frame);
		room = be16(((struct udp_header *)vxlan - 1)->length) - sizeof(struct udp_header);
		if (at > linear_end || room < sizeof(*vxlan) + sizeof(*frame) || !(*(u8 *)&vxlan->flags & VXLAN_HAS_VNI) ||
		    !read_layer(c, at, linear_end, frame->ethertype, room - sizeof(*vxlan) - sizeof(*frame), &key->inner))
			return UNUSUAL;
		key->vni = __builtin_bswap32(vxlan->vni) >> 8;
		key->has |= HAS_VNI;
	}
	add_vlan(skb, key);
	return OTHER;
}
