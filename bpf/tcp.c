/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Counts what becomes of the TCP connections that end on the box: segments sent again, resets, changes of state, and the
 * smoothed round trip time, by raw tracepoints of the kernel's TCP. It is built once per trace policy that asks for
 * tcp, beside flows.c, with TCP_MAX defined and what bpf/tracepoint.h asks for.
 *
 * A connection has two ports and a route. What has not is none yet: a socket that listens; one that has just begun to
 * connect; the child of a listener before it is told from it. That a connection was in such a state is seen when it
 * leaves it. A connection in TIME_WAIT is no socket any more, and nothing is told of it but resets.
 */
#include <uapi/linux/in.h>
#include "tracepoint.h"

#define INET 2 /* AF_INET */
#define INET6 10
/* enum of the kernel's tcp_states.h, which user space reads by tcp_info and so never changes */
enum { SYN_SENT = 2, TIME_WAIT = 6, LISTENING = 10, NEW_SYN_RECEIVED = 12 };

#define RTT_SOCKETS 1024
#define RTT_TICKS 32 /* at least so many jiffies between two looks at a connection's RTT on one CPU */
#define SRTT_SHIFT 3 /* the kernel keeps eight times the time */

/* When a CPU last looked at the round trip time of a socket. */
struct look {
	u64 sk;
	u64 tick;
};

BPF_TABLE("hash", struct watched_key, u32, watched, WATCHED_MAX);
BPF_TABLE("extern", struct ledger_key, struct ledger_entry, ledger0, LEDGER_MAX);
BPF_TABLE("extern", struct ledger_key, struct ledger_entry, ledger1, LEDGER_MAX);
BPF_TABLE("extern", u32, u64, generation, 1);
BPF_TABLE("hash", struct connection_key, struct connection_value, tcp0, TCP_MAX);
BPF_TABLE("hash", struct connection_key, struct connection_value, tcp1, TCP_MAX);
BPF_TABLE("percpu_array", u32, struct look, looks, RTT_SOCKETS);

/* What has happened; all zero: only the round trip time is of interest. */
struct event {
	u32 retransmits;
	bool reset_sent;
	bool reset_received;
	u8 old_state; /* 0: no change */
	u8 new_state;
	u32 srtt_us;
};

static __always_inline bool is_mapped(u32 *ip)
{
	return !ip[0] && !ip[1] && ip[2] == bpf_htonl(0xffff);
}

static __always_inline bool use_ip4(struct connection_key *key, u32 local, u32 remote)
{
	__builtin_memset(key->local_ip, 0, sizeof(key->local_ip));
	__builtin_memset(key->remote_ip, 0, sizeof(key->remote_ip));
	key->local_ip[0] = local;
	key->remote_ip[0] = remote;
	key->has = HAS_IP4;
	return true;
}

/* The addresses of a struct sock_common; of an IPv6 socket that talks IPv4, those of IPv4. */
static __always_inline bool find_addresses(u64 sk, struct connection_key *key)
{
	u32 local = 0, remote = 0;
	u16 family = 0;

	if (!READ(&family, sk, SOCK___SK_COMMON_SKC_FAMILY))
		return false;
#ifdef SOCK___SK_COMMON_SKC_V6_DADDR
	if (family == INET6) {
		if (!READ(&key->local_ip, sk, SOCK___SK_COMMON_SKC_V6_RCV_SADDR) ||
		    !READ(&key->remote_ip, sk, SOCK___SK_COMMON_SKC_V6_DADDR))
			return false;
		key->has = HAS_IP6;
		return !is_mapped(key->remote_ip) || use_ip4(key, key->local_ip[3], key->remote_ip[3]);
	}
#endif
	return family == INET && READ(&local, sk, SOCK___SK_COMMON_SKC_RCV_SADDR) &&
	       READ(&remote, sk, SOCK___SK_COMMON_SKC_DADDR) && use_ip4(key, local, remote);
}

/* The ends of a full socket, or of a request, which is not one yet; false where it has not both ports. */
static __always_inline bool find_ends(u64 sk, bool full, struct connection_key *key)
{
	u16 local = 0, remote = 0;

	if (!READ(&remote, sk, SOCK___SK_COMMON_SKC_DPORT) || !remote)
		return false;
	if (full) { /* the number is gone when it closes, the port stays */
		if (!READ(&local, sk, INET_SOCK_INET_SPORT))
			return false;
		local = bpf_ntohs(local);
	} else if (!READ(&local, sk, SOCK___SK_COMMON_SKC_NUM)) {
		return false;
	}
	key->local_port = local;
	key->remote_port = bpf_ntohs(remote);
	return local && find_addresses(sk, key);
}

static __always_inline bool is_watched(struct watched_key *key, bool *known)
{
	if (!key->ifindex)
		return false;
	*known = true;
	return watched.lookup(key);
}

static __always_inline u32 routed_by(u64 sk)
{
	u64 dst = 0, dev = 0;
	u32 ifindex = 0;

	if (READ(&dst, sk, SOCK_SK_DST_CACHE) && dst && READ(&dev, dst, DST_ENTRY_DEV) && dev)
		READ(&ifindex, dev, NET_DEVICE_IFINDEX);
	return ifindex;
}

/*
 * Whether a socket is one of an interface that is watched: of that by which its packets leave, by which they last came,
 * or to which it is bound. If the kernel knows none of them, it is of the namespace, and in `watched` as interface 0.
 */
static __always_inline bool find_interface(u64 sk, bool full, u32 *ifindex)
{
	struct watched_key key = {};
	bool known = false;
	u64 net = 0;

	*ifindex = 0;
	if (!READ(&net, sk, SOCK___SK_COMMON_SKC_NET_NET) || !namespace_of(net, &key))
		return false;
	if (full) {
		key.ifindex = routed_by(sk);
		if (is_watched(&key, &known))
			goto found;
#ifdef SOCK_SK_RX_DST_IFINDEX
		if (READ(&key.ifindex, sk, SOCK_SK_RX_DST_IFINDEX) && is_watched(&key, &known))
			goto found;
#endif
	}
	if (READ(&key.ifindex, sk, SOCK___SK_COMMON_SKC_BOUND_DEV_IF) && is_watched(&key, &known))
		goto found;
	if (known)
		return false;
	key.ifindex = 0;
	return watched.lookup(&key);
found:
	*ifindex = key.ifindex;
	return true;
}

/* The ends and the interface of a packet that came in, to which there is no socket. */
static __always_inline bool find_by_packet(u64 skb, struct connection_key *key)
{
	u64 head = 0, dev = 0, at;
	u16 network = 0, transport = 0, ports[2] = {};
	struct watched_key interface = {};
	u32 local = 0, remote = 0;
	u8 version = 0;

	if (!READ(&dev, skb, SK_BUFF_DEV) || !interface_of(dev, &interface) || !watched.lookup(&interface))
		return false;
	if (!READ(&head, skb, SK_BUFF_HEAD) || !READ(&network, skb, SK_BUFF_NETWORK_HEADER) ||
	    !READ(&transport, skb, SK_BUFF_TRANSPORT_HEADER))
		return false;
	at = head + network;
	if (!READ(&version, at, 0) || !READ(&ports, head + transport, 0))
		return false;
	key->remote_port = bpf_ntohs(ports[0]);
	key->local_port = bpf_ntohs(ports[1]);
	key->ifindex = interface.ifindex;
	if (version >> 4 == 4)
		return READ(&remote, at, 12) && READ(&local, at, 16) && use_ip4(key, local, remote);
	key->has = HAS_IP6;
	return READ(&key->remote_ip, at, 8) && READ(&key->local_ip, at, 24);
}

/* Which of two maps is written to now; false where it cannot be told. */
static __always_inline bool find_parity(bool *odd)
{
	u32 zero = 0;
	u64 *now = generation.lookup(&zero);

	if (now)
		*odd = *(volatile u64 *)now & 1;
	return now;
}

static __always_inline struct ledger_entry *ledger_of(bool odd, u32 ifindex)
{
	struct ledger_key key = {.ifindex = ifindex, .direction = TCP};
	struct ledger_entry fresh = {}, *entry;

	entry = odd ? ledger1.lookup(&key) : ledger0.lookup(&key);
	if (entry)
		return entry;
	if (odd) {
		ledger1.insert(&key, &fresh);
		return ledger1.lookup(&key);
	}
	ledger0.insert(&key, &fresh);
	return ledger0.lookup(&key);
}

static __always_inline struct connection_value *value_of(bool odd, struct connection_key *key, u64 now)
{
	struct connection_value fresh = {.first_ns = now, .last_ns = now}, *value;

	value = odd ? tcp1.lookup(key) : tcp0.lookup(key);
	if (value)
		return value;
	/* Another CPU may insert the same first: whoever did, the look-up finds it. */
	if (odd) {
		tcp1.insert(key, &fresh);
		return tcp1.lookup(key);
	}
	tcp0.insert(key, &fresh);
	return tcp0.lookup(key);
}

/* Events of one socket come one after the other, since it is locked; those without a socket only count. */
static __always_inline void take_in(struct connection_value *value, struct event *event, u64 now)
{
	__sync_fetch_and_add(&value->events, 1);
	if (event->retransmits)
		__sync_fetch_and_add(&value->retransmits, event->retransmits);
	if (event->reset_sent)
		__sync_fetch_and_add(&value->resets_sent, 1);
	if (event->reset_received)
		__sync_fetch_and_add(&value->resets_received, 1);
	if (event->new_state) {
		__sync_fetch_and_add(&value->state_changes, 1);
		__sync_fetch_and_or(&value->states, 1ULL << (event->old_state & 15) | 1ULL << (event->new_state & 15));
		value->state = event->new_state;
	}
	if (event->srtt_us) {
		value->srtt_last_us = event->srtt_us;
		if (!value->srtt_min_us || event->srtt_us < value->srtt_min_us)
			value->srtt_min_us = event->srtt_us;
		if (event->srtt_us > value->srtt_max_us)
			value->srtt_max_us = event->srtt_us;
	}
	if (now > value->last_ns)
		value->last_ns = now;
}

static __always_inline void count(struct connection_key *key, struct event *event)
{
	struct connection_value *value;
	struct ledger_entry *entry;
	u64 now;
	bool odd;

	if (!find_parity(&odd))
		return;
	entry = ledger_of(odd, key->ifindex);
	if (!entry)
		return;
	/* One tracepoint may come within another, which is another program. */
	__sync_fetch_and_add(&entry->value.seen_packets, 1);
	__sync_fetch_and_add(&entry->value.seen_skbs, 1);
	now = bpf_ktime_get_ns();
	value = value_of(odd, key, now);
	if (value) {
		take_in(value, event, now);
		return;
	}
	__sync_fetch_and_add(&entry->value.overflow_packets, 1);
	__sync_fetch_and_add(&entry->value.overflow_skbs, 1);
}

static __always_inline int count_socket(u64 sk, struct event *event)
{
	struct connection_key key = {};
	u32 srtt = 0;

	if (!find_interface(sk, true, &key.ifindex) || !find_ends(sk, true, &key))
		return 0;
	if (READ(&srtt, sk, TCP_SOCK_SRTT_US))
		event->srtt_us = srtt >> SRTT_SHIFT;
	count(&key, event);
	return 0;
}

int tcp_retransmit_skb(struct bpf_raw_tracepoint_args *ctx)
{
	struct event event = {};
	u16 segments = 0;

	READ(&segments, ctx->args[1], SK_BUFF_CB + TCP_SKB_CB_TCP_GSO_SEGS);
	event.retransmits = segments ? segments : 1;
	return count_socket(ctx->args[0], &event);
}

int tcp_retransmit_synack(struct bpf_raw_tracepoint_args *ctx)
{
	struct connection_key key = {};
	struct event event = {.retransmits = 1};
	u64 request = ctx->args[1];

	if (find_interface(request, false, &key.ifindex) && find_ends(request, false, &key))
		count(&key, &event);
	return 0;
}

/* A connection's own socket has its ends; else, if it is none or listens, the packet has them that is answered. */
int tcp_send_reset(struct bpf_raw_tracepoint_args *ctx)
{
	u64 sk = ctx->args[0], skb = ctx->args[1];
	struct event event = {.reset_sent = true};
	struct connection_key key = {};
	u8 state = 0;

	if (sk && READ(&state, sk, SOCK___SK_COMMON_SKC_STATE) &&
	    state != LISTENING && state != TIME_WAIT && state != NEW_SYN_RECEIVED)
		return count_socket(sk, &event);
	if (skb && find_by_packet(skb, &key))
		count(&key, &event);
	return 0;
}

int tcp_receive_reset(struct bpf_raw_tracepoint_args *ctx)
{
	struct event event = {.reset_received = true};

	return count_socket(ctx->args[0], &event);
}

int inet_sock_set_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct event event = {.old_state = ctx->args[1], .new_state = ctx->args[2]};
	u16 protocol = 0;

	if (!READ(&protocol, ctx->args[0], SOCK_SK_PROTOCOL) || protocol != IPPROTO_TCP)
		return 0;
	if (event.new_state == SYN_SENT || event.old_state == LISTENING)
		return 0;
	return count_socket(ctx->args[0], &event);
}

/* Each segment that an established connection receives: most of them must cost next to nothing. */
int tcp_probe(struct bpf_raw_tracepoint_args *ctx)
{
	u64 sk = ctx->args[0], tick = bpf_jiffies64();
	u32 slot = (sk >> 6 ^ sk >> 16) & (RTT_SOCKETS - 1);
	struct event event = {};
	struct look *look = looks.lookup(&slot);

	if (!look || (look->sk == sk && tick - look->tick < RTT_TICKS))
		return 0;
	look->sk = sk;
	look->tick = tick;
	return count_socket(sk, &event);
}
