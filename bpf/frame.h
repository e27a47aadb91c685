/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A frame as it is on the wire, for the filters: the kernel keeps the outermost VLAN tag beside the packet, a
 * filter expects it behind the addresses. Loads are big-endian; one that reaches behind the end of the packet
 * says so, and never reads a byte of another one.
 *
 * What is linear is read where it is; the rest by bpf_skb_load_bytes.
 */
#pragma once
#include <uapi/linux/if_ether.h>

#define TAG_AT (2 * ETH_ALEN)
#define TAG_BYTES 4
/* The verifier takes no pointer that may be further into a packet than 64 KiB. */
#define DIRECT_MAX 0x7fff
#define OFFSET_MAX 0xfffffff

struct frame {
	struct __sk_buff *skb;
	void *data, *end; /* what is linear of the packet */
	u32 at; /* of its first byte in the packet */
	u32 length; /* on the wire */
	u32 shift; /* TAG_BYTES when the packet lacks the tag, else 0 */
	/* Bytes 8 to 15 and 16 to 18 of the wire, big-endian; only of a frame that lacks its tag. */
	u64 around, behind;
};

#define PACKET_READS(bits, swap)									\
	/* Anywhere in the packet, by a call. */							\
	static __always_inline bool packet_fetch##bits(struct frame *f, u64 offset, u32 *to)		\
	{												\
		u##bits value;										\
													\
		if (offset > OFFSET_MAX || bpf_skb_load_bytes(f->skb, offset, &value, sizeof(value)))	\
			return false;									\
		*to = swap(value);									\
		return true;										\
	}												\
													\
	/* The same, without a call where the packet is linear. */					\
	static __always_inline bool packet_load##bits(struct frame *f, u64 offset, u32 *to)		\
	{												\
		if (offset <= DIRECT_MAX) {								\
			u64 near = offset;								\
			u##bits *p;									\
													\
			/* Said so that the verifier knows what the compiler knows. */			\
			if (!__builtin_constant_p(offset))						\
				asm volatile("%0 &= 0x7fff" : "+r"(near));				\
			p = f->data + near;								\
			if ((void *)(p + 1) <= f->end) {						\
				*to = swap(*p);								\
				return true;								\
			}										\
		}											\
		return packet_fetch##bits(f, offset, to);						\
	}

/* At an offset on the wire: before the tag, behind it, or anywhere. `how` is load or fetch. */
#define WIRE_READS(how, bits)										\
	static __always_inline bool how##bits##_before_tag(struct frame *f, u32 at, u32 *to)		\
	{												\
		return packet_##how##bits(f, (u64)f->at + at, to);					\
	}												\
													\
	static __always_inline bool how##bits##_behind_tag(struct frame *f, u32 at, u32 *to)		\
	{												\
		return packet_##how##bits(f, (u64)f->at + at - f->shift, to);				\
	}												\
													\
	static __always_inline bool how##bits(struct frame *f, u32 at, u32 *to)				\
	{												\
		bool within = f->shift && at > TAG_AT - bits / 8 && at < TAG_AT + TAG_BYTES;		\
													\
		if (!within)										\
			return how##bits##_behind_tag(f, at < TAG_AT ? at + f->shift : at, to);		\
		if (at + bits / 8 > f->length)								\
			return false;									\
		at = at % 8 * 8;									\
		*to = (f->around << at | f->behind >> (64 - at)) >> (64 - bits);			\
		return true;										\
	}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOST16 __builtin_bswap16
#define HOST32 __builtin_bswap32
#else
#define HOST16
#define HOST32
#endif

PACKET_READS(8, )
PACKET_READS(16, HOST16)
PACKET_READS(32, HOST32)
WIRE_READS(load, 8)
WIRE_READS(load, 16)
WIRE_READS(load, 32)
WIRE_READS(fetch, 8)
WIRE_READS(fetch, 16)
WIRE_READS(fetch, 32)

/*
 * The same offset, of which the verifier knows no more than its greatest value: else it goes through all that
 * follows once for each way there, and gives up.
 */
static __always_inline u32 forgotten(u32 offset)
{
	volatile u16 halves[2] __attribute__((aligned(4)));

	halves[0] = offset;
	halves[1] = offset >> 16;
	return *(volatile u32 *)halves & DIRECT_MAX;
}

/* The packet itself. */
static __always_inline void frame_of(struct __sk_buff *skb, struct frame *f)
{
	u32 part = 0;

	f->skb = skb;
	f->data = (void *)(long)skb->data;
	f->end = (void *)(long)skb->data_end;
	f->at = 0;
	f->length = skb->len;
	f->shift = 0;
	f->around = f->behind = 0;
	if (!skb->vlan_present)
		return;
	f->length += TAG_BYTES;
	f->shift = TAG_BYTES;
	packet_load32(f, TAG_AT - 4, &part);
	f->around = (u64)part << 32 | (u32)HOST16((u16)skb->vlan_proto) << 16 | (u16)skb->vlan_tci;
	packet_load16(f, TAG_AT, &part);
	f->behind = (u64)part << 48;
	if (packet_load8(f, TAG_AT + 2, &part))
		f->behind |= (u64)part << 40;
}
