/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where plain flows are counted: an array whose entries are key and counters in one cache line, found by hashing. A hash
 * map takes three lines for each packet: bucket, key, counters.
 *
 * A flow is in the first entry of its group, in its own order, that no other flow has, and nowhere else. An entry is
 * taken a half of the key after the other, each by one atomic step, and only by a flow that has the same first half. It
 * stays what it is until the drain empties all. So whatever a CPU has passed over is another flow's for every CPU, and
 * all of them come to the same entry, whoever was first.
 *
 * A flow whose group is full is counted where the others are. Whoever chooses flows that meet in one group gets no more
 * than that.
 */
#pragma once
#include "records.h"
#include "sample.h"

#define GROUP 4
#define GROUPS ((FLOWS_MAX + GROUP - 1) / GROUP)

/* Whether this half of an entry's key is, or just now came to be, `mine`. */
static __always_inline bool take(u64 *half, u64 mine)
{
	u64 was = *(volatile u64 *)half;

	if (!was)
		was = __sync_val_compare_and_swap(half, 0, mine);
	return !was || was == mine;
}

/* Where to look for a flow, by the halves of its key: of the entries from `group` on those numbered `first ^ n`. */
struct places {
	u64 halves[2];
	u32 group;
	u32 first;
};

static __always_inline struct places places_of(struct plain_key *key, bool odd)
{
	struct places p;
	u64 hash;

	__builtin_memcpy(p.halves, key, sizeof(p.halves));
	hash = mix(mix(0, p.halves[0]), p.halves[1]);
	p.group = ((odd ? GROUPS : 0) + ((hash >> 32) * GROUPS >> 32)) * GROUP;
	p.first = hash % GROUP;
	return p;
}

/* Whether the entry is the flow's: it was, or just now came to be. */
static __always_inline bool is_of(struct plain_flow *flow, struct places *p, u64 now)
{
	u64 *owner = (u64 *)&flow->key;

	if (owner[0] == p->halves[0] && owner[1] == p->halves[1])
		return true;
	if (!take(&owner[0], p->halves[0]) || !take(&owner[1], p->halves[1]))
		return false;
	flow->value.first_ns = now;
	return true;
}
