/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The beginning of a packet as a copy in a map, its VLAN tag in place, for programs that may not load from an skb.
 * Filters see it as bpf/frame.h shows them an skb; the parser reads it too.
 */
#pragma once
#include <uapi/linux/if_ether.h>

#define TAG_AT (2 * ETH_ALEN)
#define TAG_BYTES 4
#define COPY_MAX 256
#define COPY_MASK 511
#define READ_MAX 64 /* more than is read at once */

struct copy {
	u64 offset; /* of what is read now */
	u32 captured; /* of `bytes` */
	u32 len; /* of the frame, with its tag */
	u32 gso_size;
	u32 gso_segs;
	u32 vlan_present; /* never: its tag is in place */
	u32 vlan_tci;
	u8 bytes[COPY_MASK + READ_MAX] __attribute__((aligned(8)));
};

struct frame {
	struct copy *skb;
	u32 at; /* of its first byte in the copy */
	u32 length; /* on the wire */
	u32 shift; /* never: nothing is missing */
};

#define PACKET struct copy
#define READ_BYTES(copy, offset, to, length) read_bytes(copy, offset, to, length)

/* As in bpf/frame.h: an offset of which the verifier knows its greatest value, and no more. */
static __always_inline u32 forgotten(u32 offset)
{
	volatile u16 halves[2] __attribute__((aligned(4)));

	halves[0] = offset;
	halves[1] = offset >> 16;
	return *(volatile u32 *)halves;
}

static __always_inline bool read_bytes(struct copy *copy, u64 offset, void *to, u32 length)
{
	/* Through the map, so that the verifier does not follow each way by which an offset came about. */
	*(volatile u64 *)&copy->offset = offset;
	offset = *(volatile u64 *)&copy->offset;
	if (offset > COPY_MAX || offset + length > copy->captured)
		return false;
	/* Said so that the verifier knows of this register what was found of another one. */
	asm volatile("%0 &= 511" : "+r"(offset));
	if (!__builtin_constant_p(length))
		return bpf_probe_read_kernel(to, length, copy->bytes + offset) == 0;
	__builtin_memcpy(to, copy->bytes + offset, length);
	return true;
}

#define FRAME_READS(bits, swap)									\
	static __always_inline bool packet_load##bits(struct frame *f, u64 offset, u32 *to)	\
	{											\
		u##bits value;									\
												\
		if (!read_bytes(f->skb, offset, &value, sizeof(value)))				\
			return false;								\
		*to = swap(value);								\
		return true;									\
	}											\
												\
	static __always_inline bool load##bits(struct frame *f, u32 at, u32 *to)		\
	{											\
		return packet_load##bits(f, (u64)f->at + at, to);				\
	}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOST16 __builtin_bswap16
#define HOST32 __builtin_bswap32
#else
#define HOST16
#define HOST32
#endif

FRAME_READS(8, )
FRAME_READS(16, HOST16)
FRAME_READS(32, HOST32)

/* A filter knows where the tag of an skb is to be looked for; here every read is the same. */
#define load8_before_tag load8
#define load16_before_tag load16
#define load32_before_tag load32
#define load8_behind_tag load8
#define load16_behind_tag load16
#define load32_behind_tag load32
#define fetch8 load8
#define fetch16 load16
#define fetch32 load32
#define fetch8_before_tag load8
#define fetch16_before_tag load16
#define fetch32_before_tag load32
#define fetch8_behind_tag load8
#define fetch16_behind_tag load16
#define fetch32_behind_tag load32

static __always_inline void frame_of(struct copy *copy, struct frame *f)
{
	*f = (struct frame){.skb = copy, .length = copy->len};
}
