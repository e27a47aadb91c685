/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From an skb to a flow_key. A header is read only if it lies within the packet, as its own IP header and the
 * skb bound it: a truncated header leaves its fields unset, never misread. What an IP header says of lengths is
 * not asked of a GSO skb, which is longer than any packet that it stands for.
 */
#pragma once
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include "records.h"

/*
 * What is parsed: at tc an skb, by the helper that reads linear and paged data alike. A program that has something
 * else says before what it is and how it is read; it has the fields of an skb that are asked for.
 */
#ifndef PACKET
#define PACKET struct __sk_buff
#define READ_BYTES(packet, offset, to, length) (bpf_skb_load_bytes(packet, offset, to, length) == 0)
#endif

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

/* cursor.damage */
enum { TRUNCATED = 1, MALFORMED = 2 };

/* Where the parser stands; `offset` ends up behind the last header that was understood. */
struct cursor {
	PACKET *skb;
	u32 offset;
	u32 end; /* of the packet: what lies behind it is padding */
	u8 tcp_flags;
	u8 damage;
	bool is_fragment; /* the first: lengths within speak of the whole, which goes on in the next ones */
};

struct ethernet_header {
	u16 addresses[6];
	u16 ethertype;
};

struct vlan_tag {
	u16 tci;
	u16 ethertype;
};

struct ip4_header {
	u8 version_words;
	u8 tos;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 src;
	u32 dst;
};

struct ip6_header {
	u32 version_class_flow;
	u16 length;
	u8 next;
	u8 hops;
	u32 src[4];
	u32 dst[4];
};

struct ip6_extension {
	u8 next;
	u8 units;
	u16 fragment;
};

struct ports {
	u16 src;
	u16 dst;
};

struct tcp_header {
	struct ports ports;
	u16 sequence[2];
	u16 acknowledged[2];
	u8 words;
	u8 flags;
	u16 window;
};

struct udp_header {
	struct ports ports;
	u16 length;
	u16 checksum;
};

struct sctp_header {
	struct ports ports;
	u32 tag;
	u32 checksum;
};

struct icmp_header {
	u8 type;
	u8 code;
	u16 checksum;
};

struct arp_header {
	u16 hardware;
	u16 protocol;
	u8 hardware_bytes;
	u8 protocol_bytes;
	u16 operation;
};

struct vxlan_header {
	u32 flags;
	u32 vni;
};

static __always_inline u16 be16(u16 value)
{
	return __builtin_bswap16(value);
}

#define load(c, to) load_bytes(c, to, sizeof(*(to)))

static __always_inline bool load_bytes(struct cursor *c, void *to, u32 length)
{
	if (c->offset + length <= c->end && READ_BYTES(c->skb, c->offset, to, length))
		return true;
	c->damage |= TRUNCATED;
	return false;
}

/* The packet ends where its header says, if it was not cut off before. */
static __always_inline void bound(struct cursor *c, u32 length)
{
	u32 end = c->offset + length;

	if (c->skb->gso_size)
		return;
	if (end <= c->end)
		c->end = end;
	else if (!c->is_fragment)
		c->damage |= TRUNCATED;
}

/* Past a header of which no more is read; whether it is there. */
static __always_inline bool pass(struct cursor *c, u32 length)
{
	c->offset += length;
	if (c->offset <= c->end)
		return true;
	c->damage |= TRUNCATED;
	return false;
}

/* Ethernet and in-band VLAN tags; the ID of the first tag goes to *vlan, and its presence is returned. */
static __always_inline bool parse_ethernet(struct cursor *c, struct tuple *t, u16 *vlan)
{
	struct ethernet_header h;
	bool tagged = false;

	if (!load(c, &h))
		return false;
	c->offset += sizeof(h);
	t->ethertype = be16(h.ethertype);
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		struct vlan_tag tag;

		if (t->ethertype != ETH_P_8021Q && t->ethertype != ETH_P_8021AD)
			break;
		if (!load(c, &tag))
			break;
		c->offset += sizeof(tag);
		if (!tagged)
			*vlan = be16(tag.tci) & 0xfff;
		tagged = true;
		t->ethertype = be16(tag.ethertype);
	}
	if (t->ethertype < ETH_P_802_3_MIN) {
		bound(c, t->ethertype);
		t->ethertype = ETH_P_802_2;
	}
	return tagged;
}

static __always_inline void parse_arp(struct cursor *c)
{
	struct arp_header h;

	if (load(c, &h))
		pass(c, sizeof(h) + 2 * (h.hardware_bytes + h.protocol_bytes));
}

/* Whether a transport header follows. */
static __always_inline bool parse_ip4(struct cursor *c, struct tuple *t)
{
	struct ip4_header h;
	u32 length;

	if (!load(c, &h))
		return false;
	length = (h.version_words & 0xf) * 4;
	if (h.version_words >> 4 != 4 || length < sizeof(h) || (be16(h.length) < length && !c->skb->gso_size)) {
		c->damage |= MALFORMED;
		return false;
	}
	if (c->offset + length > c->end) {
		c->damage |= TRUNCATED;
		return false;
	}
	bound(c, be16(h.length));
	c->offset += length;
	t->src_ip[0] = h.src;
	t->dst_ip[0] = h.dst;
	t->protocol = h.protocol;
	t->has |= HAS_IP4;
	if (be16(h.fragment) & 0x2000)
		c->is_fragment = true;
	return !(be16(h.fragment) & 0x1fff);
}

static __always_inline bool parse_ip6(struct cursor *c, struct tuple *t)
{
	struct ip6_header h;

	if (!load(c, &h))
		return false;
	if ((*(u8 *)&h) >> 4 != 6) {
		c->damage |= MALFORMED;
		return false;
	}
	c->offset += sizeof(h);
	bound(c, be16(h.length)); /* a jumbogram is a GSO skb: no MTU is large enough for another */
	__builtin_memcpy(t->src_ip, h.src, sizeof(h.src));
	__builtin_memcpy(t->dst_ip, h.dst, sizeof(h.dst));
	t->protocol = h.next;
	t->has |= HAS_IP6;

	for (int i = 0; i <= IP6_EXTENSIONS_MAX; i++) {
		u8 next = t->protocol;
		struct ip6_extension e;

		if (next != IP6_HOPOPTS && next != IP6_ROUTING && next != IP6_DSTOPTS && next != IP6_AUTH &&
		    next != IP6_FRAGMENT)
			return true;
		if (i == IP6_EXTENSIONS_MAX) /* RFC 8200, 4.1: each once, destination options twice */
			break;
		if (!load(c, &e) || (next == IP6_FRAGMENT && !pass(c, 8)))
			return false;
		t->protocol = e.next;
		if (next == IP6_FRAGMENT) {
			if (be16(e.fragment) & 0xfff8)
				return false;
			if (be16(e.fragment) & 1)
				c->is_fragment = true;
		} else if (next == IP6_AUTH) {
			c->offset += (e.units + 2) * 4;
		} else {
			c->offset += (e.units + 1) * 8;
		}
	}
	c->damage |= MALFORMED;
	return false;
}

/* Ports of UDP and TCP as far as the packet has them: a first fragment may end behind the ports. */
static __always_inline void parse_transport(struct cursor *c, struct tuple *t)
{
	struct ports ports;

	if (t->protocol == IPPROTO_UDP) {
		struct udp_header h;

		if (load(c, &h)) {
			ports = h.ports;
			if (be16(h.length) < sizeof(h) && !c->skb->gso_size)
				c->damage |= MALFORMED;
			else if (c->offset + be16(h.length) > c->end && !c->is_fragment && !c->skb->gso_size)
				c->damage |= TRUNCATED;
		} else if (!load(c, &ports)) {
			return;
		}
		c->offset += sizeof(h);
	} else if (t->protocol == IPPROTO_TCP) {
		struct tcp_header h;

		if (load(c, &h)) {
			u32 length = (h.words >> 4) * 4;

			ports = h.ports;
			if (length < 20) {
				c->damage |= MALFORMED;
				length = 20;
			} else {
				c->tcp_flags = h.flags;
			}
			pass(c, length);
		} else if (!load(c, &ports)) {
			return;
		}
	} else if (t->protocol == IP_SCTP) {
		struct sctp_header h;

		if (!load(c, &h))
			return;
		ports = h.ports;
		c->offset += sizeof(h);
	} else if (t->protocol == IPPROTO_ICMP || t->protocol == IP6_ICMP) {
		struct icmp_header h;

		if (!load(c, &h) || !pass(c, t->protocol == IPPROTO_ICMP ? 8 : 4))
			return;
		t->src_port = h.type;
		t->dst_port = h.code;
		t->has |= HAS_PORTS;
		return;
	} else {
		if (t->protocol == IPPROTO_GRE)
			pass(c, 4);
		return;
	}
	t->src_port = be16(ports.src);
	t->dst_port = be16(ports.dst);
	t->has |= HAS_PORTS;
}

static __always_inline void parse_network(struct cursor *c, struct tuple *t)
{
	bool follows = false;

	if (t->ethertype == ETH_P_IP)
		follows = parse_ip4(c, t);
	else if (t->ethertype == ETH_P_IPV6)
		follows = parse_ip6(c, t);
	else if (t->ethertype == ETH_P_ARP)
		parse_arp(c);
	if (follows)
		parse_transport(c, t);
}

/* The frame inside, when the packet is VXLAN: the cursor stands behind the UDP header. */
static __always_inline void parse_vxlan(struct cursor *c, struct flow_key *key)
{
	u16 inner_vlan; /* not a field of a flow */
	struct vxlan_header h;

	if (key->outer.dst_port != VXLAN_PORT || key->outer.protocol != IPPROTO_UDP)
		return;
	if (!load(c, &h))
		return;
	if (!(*(u8 *)&h.flags & VXLAN_HAS_VNI)) {
		c->damage |= MALFORMED;
		return;
	}
	c->offset += sizeof(h);
	key->vni = __builtin_bswap32(h.vni) >> 8;
	key->has |= HAS_VNI;
	parse_ethernet(c, &key->inner, &inner_vlan);
	parse_network(c, &key->inner);
}

/* The kernel strips the outermost tag into the skb on ingress, and may carry it there on egress. */
static __always_inline void add_vlan(PACKET *skb, struct flow_key *key)
{
	if (skb->vlan_present) {
		key->vlan = skb->vlan_tci & 0xfff;
		key->has |= HAS_VLAN;
	}
}

static __always_inline void parse(struct cursor *c, struct flow_key *key)
{
	u16 vlan = 0;

	if (parse_ethernet(c, &key->outer, &vlan))
		key->has |= HAS_VLAN;
	key->vlan = vlan;
	add_vlan(c->skb, key);
	parse_network(c, &key->outer);
	parse_vxlan(c, key);
}
