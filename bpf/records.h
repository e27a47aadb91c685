/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the program and the capture process share: one struct per record. smartxd/capture/layout.py says the
 * same to numpy, and a test compares the two field by field.
 * Numbers are in host order, addresses in network order.
 */
#pragma once

/* Where something was seen: a packet at tc, or by the kernel's own word: one that it dropped, an event of TCP. */
enum direction { INGRESS = 0, EGRESS = 1, DROPPED = 2, TCP = 3 };

/* tuple.has */
enum { HAS_IP4 = 1, HAS_IP6 = 2, HAS_PORTS = 4 };
/* flow_key.has */
enum { HAS_VLAN = 1, HAS_VNI = 2 };

/* One layer of addresses: of the packet itself, or of the frame inside its VXLAN. */
struct tuple {
	u32 src_ip[4]; /* IPv4 in the first four bytes */
	u32 dst_ip[4];
	u16 src_port; /* of ICMP and ICMPv6: the type */
	u16 dst_port; /* of ICMP and ICMPv6: the code */
	u16 ethertype; /* behind the VLAN tags; ETH_P_802_2 for an 802.3 length */
	u8 protocol; /* behind the IPv6 extension headers */
	u8 has;
};

struct flow_key {
	struct tuple outer;
	struct tuple inner;
	u32 ifindex;
	u32 vni;
	u16 vlan; /* VLAN ID of the outermost tag */
	u8 direction;
	u8 has;
};

/*
 * The same of a flow that has nothing but IPv4 and ports, which most are: a sixth of the bytes to hash and to
 * compare. Such a flow is in the map of this key and in no other, unless it finds no place there, or its ifindex does not
 * fit.
 */
struct plain_key {
	u32 src_ip;
	u32 dst_ip;
	u16 src_port;
	u16 dst_port;
	u32 place; /* ifindex, direction, protocol: 23, 1 and 8 bits */
} __attribute__((aligned(8)));

#define PLAIN_IFINDEX_MAX ((1 << 23) - 1)

/* What every packet touches comes first, right behind the key: mostly in one cache line less. */
struct flow_value {
	u64 skbs;
	u64 bytes; /* on the wire, from the Ethernet header on */
	u64 last_ns; /* CLOCK_MONOTONIC */
	u64 tcp_flags; /* OR-ed, of the innermost TCP header */
	u64 more_packets; /* on the wire: segments of GSO skbs beyond the first of each */
	u64 first_ns;
};

/* A line of a cache. */
struct plain_flow {
	struct plain_key key; /* place 0: of nobody */
	struct flow_value value;
};

struct ledger_key {
	u32 ifindex;
	u32 direction;
};

/*
 * seen = filtered + sampled out + the sum over the flow maps + overflow, per generation, exactly. Of a policy that
 * records packets also: seen = filtered + sampled out + the sum over the ring + ring full.
 */
struct ledger_value {
	u64 seen_packets; /* of TCP: events; they have no bytes */
	u64 seen_skbs;
	u64 seen_bytes;
	u64 filtered_packets; /* not selected by the policy */
	u64 filtered_skbs;
	u64 filtered_bytes;
	u64 sampled_out_packets; /* selected, and not one of the sample */
	u64 sampled_out_skbs;
	u64 sampled_out_bytes;
	u64 overflow_packets; /* the flow map was full */
	u64 overflow_skbs;
	u64 overflow_bytes;
	u64 ring_full_packets; /* the ring had no room */
	u64 ring_full_skbs;
	u64 ring_full_bytes;
	u64 truncated_skbs; /* of those to be recorded: ends before its headers do, or before it says */
	u64 malformed_skbs; /* of those to be recorded: says of itself what cannot be */
};

/* When a CPU last asked for the time, and what it was told. */
struct clock {
	u64 tick;
	u64 now_ns;
};

/*
 * A CPU's part of the ledger for an interface and a direction. It is in an array where its ifindex leads, without
 * hashing, unless the place belongs to another that came first: then in a hash map behind.
 */
struct ledger_entry {
	struct ledger_key key; /* ifindex 0: of nobody */
	struct clock clock;
	struct ledger_value value;
};

/* A CPU's: how often the programs ran, and how long one run in COST_ONE_IN took, added up. */
struct cost {
	u64 runs;
	u64 begun_ns; /* of the run that is measured; 0: it is not */
	u64 measured_ns;
};

/* Written by the capture process only: the ledgers of all generations up to `generation`, added up. */
struct total_value {
	u64 generation;
	struct ledger_value sum;
};

/* packet_record.clock */
enum { CLOCK_IS_MONOTONIC = 0, CLOCK_IS_TAI = 1 };

/* A packet in the ring. `captured` bytes of the frame follow, as it is on the wire: with its VLAN tag. */
struct packet_record {
	u64 time_ns;
	u64 digest; /* 53 bits of the hash by which sampling chooses, without its seed */
	u64 bytes; /* on the wire, from the Ethernet headers on */
	struct flow_key key;
	u32 length; /* bytes of the frame; of a GSO skb those of all its segments, the headers once */
	u32 packets; /* on the wire */
	u32 sampled_one_in; /* the interval that held */
	u16 gso_size; /* bytes of a segment's payload; 0 of what is no GSO skb */
	u16 captured;
	u8 tcp_flags; /* of the innermost TCP header */
	u8 clock;
	u16 unused;
};

/* An interface by number, and its network namespace, since the kernel drops packets of all of them at one place. */
struct watched_key {
	u32 netns; /* inode */
	u32 ifindex;
};

/* Of packets that the kernel dropped; the value is that of a flow. */
struct drop_key {
	u64 location; /* the address to which kfree_skb() would return */
	struct flow_key flow;
	u32 reason; /* enum skb_drop_reason of the running kernel */
};

/* A TCP connection that ends on the box, by its own end and the other one. */
struct connection_key {
	u32 local_ip[4]; /* IPv4 in the first four bytes */
	u32 remote_ip[4];
	u16 local_port;
	u16 remote_port;
	u32 has; /* HAS_IP4 or HAS_IP6 */
	u32 ifindex; /* by which it is routed; 0 where the kernel does not say */
};

struct connection_value {
	u64 events; /* that the kernel told: what is below, and looks at the round trip time */
	u64 retransmits; /* segments */
	u64 resets_sent;
	u64 resets_received;
	u64 state_changes;
	u64 states; /* bit N: it was, or came to be, in state N (enum of the kernel's tcp_states.h) */
	u64 state; /* to which it last changed; 0: it did not */
	u64 srtt_last_us; /* 0: not known */
	u64 srtt_min_us;
	u64 srtt_max_us;
	u64 first_ns; /* CLOCK_MONOTONIC */
	u64 last_ns;
};
