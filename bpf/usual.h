/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The packets that nearly all are: TCP and UDP over IPv4 without options and fragments, with no VLAN tag but one beside
 * the skb, and the same inside VXLAN. They are read in place, at fixed offsets. Whatever is not exactly so, damaged or merely beyond
 * the linear data, is left to parse(), which finds the same in each packet that both of them know.
 */
#pragma once
#include "parse.h"

#define IP4_PLAIN 0x45 /* version 4, five words */
#define IP4_UDP 28 /* bytes of both headers */
#define FRAME_MIN (ETH_HLEN + IP4_UDP)

enum shape { UNUSUAL, PLAIN, TUNNELLED };

/* An IPv4 header without options, and what is behind it. */
struct layer {
	u32 src_ip;
	u32 dst_ip;
	u16 src_port;
	u16 dst_port;
	u8 protocol;
	u8 tcp_flags;
	u32 headers; /* bytes of the IP and the transport header */
	u32 length; /* bytes of the IP packet */
};

/* Reads the packet at `at`, of which the IP header and the eight bytes behind it are linear. */
static __always_inline bool read_layer(u8 *at, u8 *linear_end, u32 room, struct layer *l)
{
	struct ip4_header *ip = (void *)at;
	struct udp_header *udp = (void *)(ip + 1);
	struct tcp_header *tcp = (void *)(ip + 1);

	l->length = be16(ip->length);
	if (ip->version_words != IP4_PLAIN || ip->fragment & be16(0x3fff) || l->length > room)
		return false;
	l->protocol = ip->protocol;
	if (l->protocol == IPPROTO_UDP) {
		l->headers = sizeof(*ip) + sizeof(*udp);
		l->tcp_flags = 0;
		if (be16(udp->length) + sizeof(*ip) != l->length)
			return false;
	} else if (l->protocol == IPPROTO_TCP) {
		if ((u8 *)(tcp + 1) > linear_end || tcp->words < 0x50)
			return false;
		l->headers = sizeof(*ip) + (tcp->words >> 4) * 4;
		l->tcp_flags = tcp->flags;
	} else {
		return false;
	}
	l->src_ip = ip->src;
	l->dst_ip = ip->dst;
	l->src_port = be16(udp->ports.src);
	l->dst_port = be16(udp->ports.dst);
	return l->headers <= l->length;
}

/* The layers of a packet that is as most are; the inner one and the VNI of one that is TUNNELLED. */
static __always_inline enum shape recognise(struct __sk_buff *skb, struct layer *outer, struct layer *inner,
					    u32 *vni)
{
	u8 *at = (void *)(long)skb->data, *linear_end = (void *)(long)skb->data_end;
	struct ethernet_header *frame = (void *)at;
	struct vxlan_header *vxlan;

	if (at + FRAME_MIN > linear_end || frame->ethertype != be16(ETH_P_IP) ||
	    !read_layer(at + ETH_HLEN, linear_end, skb->len - ETH_HLEN, outer))
		return UNUSUAL;
	if (outer->dst_port != VXLAN_PORT || outer->protocol != IPPROTO_UDP)
		return PLAIN;
	vxlan = (void *)(at + FRAME_MIN);
	frame = (void *)(vxlan + 1);
	at = (void *)frame;
	if (at + FRAME_MIN > linear_end || outer->length < IP4_UDP + sizeof(*vxlan) + FRAME_MIN ||
	    !(*(u8 *)&vxlan->flags & VXLAN_HAS_VNI) || frame->ethertype != be16(ETH_P_IP) ||
	    !read_layer(at + ETH_HLEN, linear_end, outer->length - IP4_UDP - sizeof(*vxlan) - ETH_HLEN, inner))
		return UNUSUAL;
	*vni = __builtin_bswap32(vxlan->vni) >> 8;
	return TUNNELLED;
}

static __always_inline struct tuple tuple_of(struct layer *l)
{
	struct tuple t = {
		.src_ip = {l->src_ip},
		.dst_ip = {l->dst_ip},
		.src_port = l->src_port,
		.dst_port = l->dst_port,
		.ethertype = ETH_P_IP,
		.protocol = l->protocol,
		.has = HAS_IP4 | HAS_PORTS,
	};
	return t;
}

static __always_inline struct layer layer_of(struct tuple *t)
{
	struct layer l = {
		.src_ip = t->src_ip[0],
		.dst_ip = t->dst_ip[0],
		.src_port = t->src_port,
		.dst_port = t->dst_port,
		.protocol = t->protocol,
	};
	return l;
}
