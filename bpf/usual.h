/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The packets that nearly all are: TCP and UDP over IP without options, extension headers and fragments, with no VLAN
 * tag or one, and the same inside VXLAN. They are read in place, at few offsets. Whatever is not exactly so, damaged or
 * merely beyond the linear data, is left to parse(), which finds the same in each packet that both of them know.
 */
#pragma once
#include "parse.h"

#define IP4_PLAIN 0x45 /* version 4, five words */

/* An IP header, and what is behind it. */
struct layer {
	u8 *ip;
	u32 headers; /* bytes of the IP and the transport header */
	u32 length; /* bytes of the IP packet */
	u16 src_port;
	u16 dst_port;
	u8 protocol;
	u8 tcp_flags;
	bool is_ip6;
};

/* What recognise() finds. */
struct usual {
	struct layer outer, inner;
	u32 headers; /* bytes, of all layers */
	u32 vni;
	u16 vlan;
	u8 has; /* as in a flow_key */
};

static __always_inline bool read_transport(u8 *at, u8 *linear_end, struct layer *l)
{
	struct udp_header *udp = (void *)at;
	struct tcp_header *tcp = (void *)at;

	if ((u8 *)(udp + 1) > linear_end)
		return false;
	l->src_port = be16(udp->ports.src);
	l->dst_port = be16(udp->ports.dst);
	if (l->protocol == IPPROTO_UDP) {
		if (be16(udp->length) + l->headers != l->length)
			return false;
		l->headers += sizeof(*udp);
		l->tcp_flags = 0;
	} else if (l->protocol == IPPROTO_TCP) {
		if ((u8 *)(tcp + 1) > linear_end || tcp->words < 0x50)
			return false;
		l->headers += (tcp->words >> 4) * 4;
		l->tcp_flags = tcp->flags;
	} else {
		return false;
	}
	return l->headers <= l->length;
}

/* Reads the IP packet at `at`, which has `room` bytes there. */
static __always_inline bool read_layer(u8 *at, u8 *linear_end, u16 ethertype, u32 room, struct layer *l)
{
	struct ip4_header *ip4 = (void *)at;
	struct ip6_header *ip6 = (void *)at;

	l->ip = at;
	if (ethertype == be16(ETH_P_IP)) {
		if ((u8 *)(ip4 + 1) > linear_end || ip4->version_words != IP4_PLAIN || ip4->fragment & be16(0x3fff))
			return false;
		l->is_ip6 = false;
		l->headers = sizeof(*ip4);
		l->length = be16(ip4->length);
		l->protocol = ip4->protocol;
		return l->length <= room && read_transport(at + sizeof(*ip4), linear_end, l);
	}
	if (ethertype == be16(ETH_P_IPV6)) {
		if ((u8 *)(ip6 + 1) > linear_end || *at >> 4 != 6)
			return false;
		l->is_ip6 = true;
		l->headers = sizeof(*ip6);
		l->length = sizeof(*ip6) + be16(ip6->length);
		l->protocol = ip6->next;
		return l->length <= room && read_transport(at + sizeof(*ip6), linear_end, l);
	}
	return false;
}

/* Whether the packet is as most are, and then what it is. */
static __always_inline bool recognise(struct __sk_buff *skb, struct usual *u)
{
	u8 *data = (void *)(long)skb->data, *linear_end = (void *)(long)skb->data_end, *at = data + ETH_HLEN;
	struct ethernet_header *frame = (void *)data;
	struct vxlan_header *vxlan;
	struct vlan_tag *tag;
	u16 ethertype;

	if (at > linear_end)
		return false;
	u->has = 0;
	u->headers = ETH_HLEN;
	ethertype = frame->ethertype;
	if (ethertype == be16(ETH_P_8021Q)) {
		tag = (void *)at;
		at = (void *)(tag + 1);
		if (at > linear_end)
			return false;
		u->has = HAS_VLAN;
		u->headers += sizeof(*tag);
		u->vlan = be16(tag->tci) & 0xfff;
		ethertype = tag->ethertype;
	}
	if (!read_layer(at, linear_end, ethertype, skb->len - u->headers, &u->outer))
		return false;
	u->headers += u->outer.headers;
	if (u->outer.dst_port != VXLAN_PORT || u->outer.protocol != IPPROTO_UDP)
		return true;
	vxlan = (void *)(at + (u->outer.is_ip6 ? sizeof(struct ip6_header) : sizeof(struct ip4_header)) +
			 sizeof(struct udp_header));
	frame = (void *)(vxlan + 1);
	at = (void *)(frame + 1);
	u->outer.headers += sizeof(*vxlan) + ETH_HLEN;
	if (at > linear_end || !(*(u8 *)&vxlan->flags & VXLAN_HAS_VNI) || u->outer.length < u->outer.headers ||
	    !read_layer(at, linear_end, frame->ethertype, u->outer.length - u->outer.headers, &u->inner))
		return false;
	u->headers += sizeof(*vxlan) + ETH_HLEN + u->inner.headers;
	u->vni = __builtin_bswap32(vxlan->vni) >> 8;
	u->has |= HAS_VNI;
	return true;
}

static __always_inline struct tuple tuple_of(struct layer *l)
{
	struct tuple t = {.src_port = l->src_port, .dst_port = l->dst_port, .protocol = l->protocol};

	if (l->is_ip6) {
		struct ip6_header *ip6 = (void *)l->ip;

		__builtin_memcpy(t.src_ip, ip6->src, sizeof(t.src_ip));
		__builtin_memcpy(t.dst_ip, ip6->dst, sizeof(t.dst_ip));
		t.ethertype = ETH_P_IPV6;
		t.has = HAS_IP6 | HAS_PORTS;
	} else {
		struct ip4_header *ip4 = (void *)l->ip;

		t.src_ip[0] = ip4->src;
		t.dst_ip[0] = ip4->dst;
		t.ethertype = ETH_P_IP;
		t.has = HAS_IP4 | HAS_PORTS;
	}
	return t;
}
