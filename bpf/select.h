/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which packets a policy records. SELECTION is the file that planes/trace/program.py writes for the policy:
 * its filters as C functions, with OUTER_FILTER and INNER_FILTER defined where the policy has them.
 */
#pragma once
#ifndef PACKET
#include "frame.h"
#endif
#include "parse.h"

#define SAMPLING_NONE 0
#define SAMPLING_COUNT 1
#define SAMPLING_RANDOM 2
#define SAMPLING_HASH 3

#ifdef SELECTION
#include SELECTION
#endif

#ifndef SAMPLING
#define SAMPLING SAMPLING_NONE
#endif

/* The frame inside a VXLAN packet: false when the packet is none, or ends before it. */
static __always_inline bool frame_inside(struct frame *outer, struct frame *inner)
{
	u32 at = TAG_AT, type, value, protocol;

	if (!packet_load16(outer, at, &type))
		return false;
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		at += TAG_BYTES;
		if (!packet_load16(outer, at, &type))
			return false;
	}
	at = forgotten(at + 2);
	if (type == ETH_P_IP) {
		if (!packet_load32(outer, at, &value) || value >> 28 != 4)
			return false;
		if (!packet_load8(outer, at + 9, &protocol) || protocol != IPPROTO_UDP)
			return false;
		if (!packet_load16(outer, at + 6, &protocol) || protocol & 0x1fff)
			return false;
		if ((value >> 24 & 0xf) < 5)
			return false;
		at += (value >> 24 & 0xf) * 4;
	} else if (type == ETH_P_IPV6) {
		if (!packet_load8(outer, at, &value) || value >> 4 != 6 || !packet_load8(outer, at + 6, &protocol))
			return false;
		at += 40;
		for (int i = 0; i < IP6_EXTENSIONS_MAX && protocol != IPPROTO_UDP; i++) {
			u32 next = protocol;

			if (next != IP6_HOPOPTS && next != IP6_ROUTING && next != IP6_FRAGMENT &&
			    next != IP6_AUTH && next != IP6_DSTOPTS)
				return false;
			if (!packet_load32(outer, at, &value))
				return false;
			protocol = value >> 24;
			if (next == IP6_FRAGMENT && value & 0xfff8)
				return false;
			if (next == IP6_FRAGMENT)
				at += 8;
			else if (next == IP6_AUTH)
				at += ((value >> 16 & 0xff) + 2) * 4;
			else
				at += ((value >> 16 & 0xff) + 1) * 8;
			at = forgotten(at);
		}
		if (protocol != IPPROTO_UDP)
			return false;
	} else {
		return false;
	}
	at = forgotten(at);
	if (!packet_load16(outer, at + 2, &value) || value != VXLAN_PORT)
		return false;
	at += 8;
	if (!packet_load8(outer, at, &value) || !(value & VXLAN_HAS_VNI))
		return false;
	at += 8;
	if (at >= outer->skb->len)
		return false;
	*inner = *outer;
	inner->at = forgotten(at);
	inner->length = outer->skb->len - at;
	inner->shift = 0;
	return true;
}

static __always_inline bool selected(PACKET *skb)
{
	struct frame outer;

	frame_of(skb, &outer);
#ifdef OUTER_FILTER
	if (!OUTER_FILTER(&outer))
		return false;
#endif
#ifdef INNER_FILTER
	struct frame inner;

	if (!frame_inside(&outer, &inner) || !INNER_FILTER(&inner))
		return false;
#endif
	return true;
}
