// SPDX-License-Identifier: Apache-2.0
//
// What stands in the tables, which the loader fills, and what is kept of connections.

#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// Of linux/bpf.h and linux/pkt_cls.h, which may be older: the next program sees the packet, or nobody does.
#define PASS (-1)
#define DROP 2

#define EGRESS 0
#define INGRESS 1

// A cell of the trie (see runtime/resolver/src/trie.rs): its tag, and of a branch its number, and how far the
// byte that it takes stands above the lowest of its half of the address, in bits.
#define TAG (3u << 30)
#define BRANCH (1u << 30)
#define LOWER (1u << 31)
#define NUMBER ((1u << 30) - (1u << 6))
#define ROOT 256
#define STEPS_V4 2
#define STEPS_V6 14

// A decision (see runtime/resolver/src/lists.rs).
#define ALLOW (1u << 31)
#define LOG (1u << 30)
#define AUDIT (1u << 29)
#define DEFER (1u << 28)
#define REASON (DEFER - 1)

// The reason of a node, which reaches its pods.
#define NODE 1

// A hint that a packet carries in `tc_index` from the hook where a pod sends it to the one where it is
// delivered: the sender, and whether the verdict waits for delivery. Other tc programs may overwrite it, so
// no verdict depends on it where the interface that the packet came from says who the sender is.
#define SENDER ((1u << 13) - 1)
#define DEFERRED (1u << 15)

struct address {
	__u64 hi, lo;
};

struct compare {
	struct address mask, prefix;
	__u32 yes, no;
};

// A pod on this node, and in which directions policies select it: audit policies only, which decide nothing
// (AUDITED), or others too (ENFORCED). An entry whose `id` is 0 is a bridge with pods behind it.
#define AUDITED 1
#define ENFORCED 2

struct endpoint {
	__u32 ifindex;
	__u32 id;
	__u32 rows[2]; // where they begin, in bytes
	__u32 isolated[2];
	__u64 v4; // as the upper half of an address
	struct address v6;
	__u64 wanting; // when a reply last came for which no record was found, in nanoseconds since boot
	__u64 taken_over; // until when replies may be of connections older than enforcement, in the same clock
};

struct counter {
	__u64 packets, bytes;
};

// A connection, as its pod sees it.
struct connection {
	struct address remote, local;
	__u32 endpoint;
	__u16 remote_port, local_port;
	__u8 protocol, family;
	__u16 zero;
};

// DENIED is kept, so that the other side's packets do not open it anew.
enum state { OPENING = 0, OPEN = 1, CLOSING = 2, DENIED = 3 };

struct record {
	__u64 seen; // nanoseconds since boot
	__u64 stamp; // of the tables that allowed it
	__u8 opener; // EGRESS where the pod opened it
	__u8 state;
	__u8 deferred; // whether its verdict was left to the hook that delivers its packets
	__u8 is_translated; // whether that hook has seen it, so that `to` is known
	__u16 to_port;
	__u16 zero;
	struct address to;
};

// What the hook where a pod sends decided about a packet, for the hook that delivers it.
enum kind { PERMITTED = 0, ANSWER = 1, WAITING = 2 };

// The connection of a packet before translation. `hash` is the packet's flow hash, which translation and
// other tc programs leave alone.
struct ticket {
	struct connection connection;
	__u64 stamp; // of the tables
	__u32 hash;
	__u8 kind;
	__u8 zero[3];
};

// How many records of connections a pod has room for. Where it makes more, its own oldest ones end.
#define SHARE 8192

// A place in a pod's share.
struct place {
	__u32 endpoint, number;
};

// Fragments of one packet.
struct fragments {
	struct address source, destination;
	__u32 id;
	__u32 endpoint;
	__u8 protocol, direction;
	__u16 zero;
};

struct fragments_verdict {
	__u64 seen;
	__u32 generation;
	__u32 allow;
};

struct event {
	__u64 time;
	__u32 ifindex;
	__u32 endpoint;
	__u32 enforced, audited;
	__u32 generation;
	__u8 direction, protocol, family, cause;
	struct address source, destination;
	__u16 source_port, destination_port;
	__u32 length;
};

// Why a packet is reported.
enum cause { BY_POLICY = 0, UNREADABLE = 1, FOREIGN_SOURCE = 2, FOREIGN_DESTINATION = 3, TUNNELLED = 4 };

// How many packets may still be reported.
struct budget {
	__u64 since, left;
};
