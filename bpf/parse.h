/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From an skb to a flow_key. Every header is fetched by bpf_skb_load_bytes, which reads linear and paged data
 * alike and refuses what lies behind the end: a truncated header leaves its fields unset, never misread.
 */
#pragma once
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include "records.h"

#define VLAN_TAGS_MAX 2
#define IP6_EXTENSIONS_MAX 8
#define IP6_HOPOPTS 0
#define IP6_ROUTING 43
#define IP6_FRAGMENT 44
#define IP6_AUTH 51
#define IP6_ICMP 58
#define IP6_DSTOPTS 60
#define IP_SCTP 132
#define VXLAN_PORT 4789
#define VXLAN_HAS_VNI 0x08

/* Where the parser stands; `offset` ends up behind the last header that was understood. */
struct cursor {
	struct __sk_buff *skb;
	u32 offset;
	u8 tcp_flags;
};

static __always_inline bool load(struct cursor *c, void *to, u32 length)
{
	return bpf_skb_load_bytes(c->skb, c->offset, to, length) == 0;
}

static __always_inline u16 be16(const u8 *p)
{
	return (u16)p[0] << 8 | p[1];
}

/* Ethernet and in-band VLAN tags; the ID of the first tag goes to *vlan, and its presence is returned. */
static __always_inline bool parse_ethernet(struct cursor *c, struct tuple *t, u16 *vlan)
{
	bool tagged = false;
	u8 h[ETH_HLEN];

	if (!load(c, h, ETH_HLEN))
		return false;
	c->offset += ETH_HLEN;
	t->ethertype = be16(h + 12);
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		u8 tag[4];

		if (t->ethertype != ETH_P_8021Q && t->ethertype != ETH_P_8021AD)
			break;
		if (!load(c, tag, sizeof(tag)))
			break;
		c->offset += sizeof(tag);
		if (!tagged)
			*vlan = be16(tag) & 0xfff;
		tagged = true;
		t->ethertype = be16(tag + 2);
	}
	if (t->ethertype < ETH_P_802_3_MIN)
		t->ethertype = ETH_P_802_2;
	return tagged;
}

/* The return value says whether a transport header follows: not in later fragments. */
static __always_inline bool parse_ip4(struct cursor *c, struct tuple *t)
{
	u8 h[20];
	u32 length;

	if (!load(c, h, sizeof(h)))
		return false;
	length = (h[0] & 0xf) * 4;
	if (h[0] >> 4 != 4 || length < sizeof(h))
		return false;
	c->offset += length;
	__builtin_memcpy(t->src_ip, h + 12, 4);
	__builtin_memcpy(t->dst_ip, h + 16, 4);
	t->protocol = h[9];
	t->has |= HAS_IP4;
	return !(be16(h + 6) & 0x1fff);
}

static __always_inline bool parse_ip6(struct cursor *c, struct tuple *t)
{
	u8 h[40];

	if (!load(c, h, sizeof(h)) || h[0] >> 4 != 6)
		return false;
	c->offset += sizeof(h);
	__builtin_memcpy(t->src_ip, h + 8, 16);
	__builtin_memcpy(t->dst_ip, h + 24, 16);
	t->protocol = h[6];
	t->has |= HAS_IP6;

	for (int i = 0; i < IP6_EXTENSIONS_MAX; i++) {
		u8 next = t->protocol;
		u8 e[4];

		if (next != IP6_HOPOPTS && next != IP6_ROUTING && next != IP6_DSTOPTS && next != IP6_AUTH &&
		    next != IP6_FRAGMENT)
			return true;
		if (!load(c, e, sizeof(e)))
			return false;
		t->protocol = e[0];
		if (next == IP6_FRAGMENT) {
			c->offset += 8;
			if (be16(e + 2) & 0xfff8)
				return false;
		} else if (next == IP6_AUTH) {
			c->offset += (e[1] + 2) * 4;
		} else {
			c->offset += (e[1] + 1) * 8;
		}
	}
	return false;
}

/* Ports as far as the packet has them: a first fragment may end behind the ports. */
static __always_inline void parse_transport(struct cursor *c, struct tuple *t)
{
	u8 h[14];

	switch (t->protocol) {
	case IPPROTO_TCP:
		if (load(c, h, sizeof(h))) {
			u32 length = (h[12] >> 4) * 4;

			c->tcp_flags = h[13];
			c->offset += length < 20 ? 20 : length;
		} else if (!load(c, h, 4)) {
			return;
		}
		break;
	case IPPROTO_UDP:
	case IP_SCTP:
		if (!load(c, h, 4))
			return;
		c->offset += t->protocol == IPPROTO_UDP ? 8 : 12;
		break;
	case IPPROTO_ICMP:
	case IP6_ICMP:
		if (!load(c, h, 4))
			return;
		t->src_port = h[0];
		t->dst_port = h[1];
		t->has |= HAS_PORTS;
		c->offset += 8;
		return;
	default:
		return;
	}
	t->src_port = be16(h);
	t->dst_port = be16(h + 2);
	t->has |= HAS_PORTS;
}

static __always_inline void parse_network(struct cursor *c, struct tuple *t)
{
	bool transport = false;

	if (t->ethertype == ETH_P_IP)
		transport = parse_ip4(c, t);
	else if (t->ethertype == ETH_P_IPV6)
		transport = parse_ip6(c, t);
	if (transport)
		parse_transport(c, t);
}

/* The frame inside, when the packet is VXLAN: the cursor stands behind the UDP header. */
static __always_inline void parse_vxlan(struct cursor *c, struct flow_key *key)
{
	u16 inner_vlan; /* not a field of a flow */
	u8 h[8];

	if (key->outer.protocol != IPPROTO_UDP || !(key->outer.has & HAS_PORTS) ||
	    key->outer.dst_port != VXLAN_PORT)
		return;
	if (!load(c, h, sizeof(h)) || !(h[0] & VXLAN_HAS_VNI))
		return;
	c->offset += sizeof(h);
	key->vni = (u32)h[4] << 16 | (u32)h[5] << 8 | h[6];
	key->has |= HAS_VNI;
	parse_ethernet(c, &key->inner, &inner_vlan);
	parse_network(c, &key->inner);
}

static __always_inline void parse(struct cursor *c, struct flow_key *key)
{
	u16 vlan = 0;

	/* The kernel strips the outermost tag into the skb on ingress, and may carry it there on egress. */
	if (parse_ethernet(c, &key->outer, &vlan))
		key->has |= HAS_VLAN;
	if (c->skb->vlan_present) {
		vlan = c->skb->vlan_tci & 0xfff;
		key->has |= HAS_VLAN;
	}
	key->vlan = vlan;
	parse_network(c, &key->outer);
	parse_vxlan(c, key);
}
