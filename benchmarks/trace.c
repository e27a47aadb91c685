/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the tracer is measured against: nothing, and the least that counts flows of one fixed kind. */
#include <uapi/linux/if_ether.h>


struct reference_key {
	u32 src_ip, dst_ip;
	u16 src_port, dst_port;
	u32 protocol, ifindex, direction;
};

struct reference_value {
	u64 packets, bytes, last_ns;
};

BPF_TABLE("hash", struct reference_key, struct reference_value, reference_flows, FLOWS_MAX);
BPF_TABLE("prog", int, int, measured, 1);

int empty(struct __sk_buff *skb)
{
	return -1;
}

/* Reads a tuple at fixed places, asks for the time, and adds to one map. */
int reference(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct reference_value fresh = {}, *value;
	struct reference_key key = {};
	u64 now;

	if (data + ETH_HLEN + 28 > end || data[23] != 17)
		return -1;
	key.src_ip = *(u32 *)(data + 26);
	key.dst_ip = *(u32 *)(data + 30);
	key.src_port = *(u16 *)(data + 34);
	key.dst_port = *(u16 *)(data + 36);
	key.protocol = 17;
	key.ifindex = skb->ifindex;
	now = bpf_ktime_get_ns();
	value = reference_flows.lookup_or_try_init(&key, &fresh);
	if (!value)
		return -1;
	__sync_fetch_and_add(&value->packets, 1);
	__sync_fetch_and_add(&value->bytes, skb->len);
	value->last_ns = now;
	return -1;
}

/* Before each of the others in turn: the same packet again, and one of as many flows. */
int one_flow(struct __sk_buff *skb)
{
	measured.call(skb, 0);
	return -1;
}

int many_flows(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + ETH_HLEN + 28 <= end)
		*(u16 *)(data + 34) = bpf_get_prandom_u32() % FLOWS;
	measured.call(skb, 0);
	return -1;
}
