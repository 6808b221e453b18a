// SPDX-License-Identifier: Apache-2.0
//
// The formats of the tables, which the loader writes, and of conntrack records, packets in flight and events.

#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// TCX_NEXT and TCX_DROP, which older versions of linux/bpf.h lack: run the next tcx program, or drop the packet.
#define PASS (-1)
#define DROP 2

#define EGRESS 0
#define INGRESS 1

// A cell of the trie (see runtime/resolver/src/trie.rs): its tag; for a branch also its number, and the position of
// the byte that it consumes, as a number of bits to shift its half of the address right.
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

// The reason for a packet from the pod's own node, which is always allowed.
#define NODE 1

// A hint in skb->tc_index, from the hook where a pod sends a packet to the hook where it is delivered: the sender,
// and whether the verdict is deferred. Other tc programs may overwrite it, so that no verdict depends on it if the
// packet's ingress_ifindex identifies the sender.
#define SENDER ((1u << 13) - 1)
#define DEFERRED (1u << 15)

struct address {
	__u64 hi, lo;
};

struct compare {
	struct address mask, prefix;
	__u32 yes, no;
};

// A pod on this node. `isolated` states for each direction whether policies select it: only audit policies, which
// decide nothing (AUDITED), or others too (ENFORCED). An entry whose `id` is 0 is a bridge with pods behind it.
#define AUDITED 1
#define ENFORCED 2

struct endpoint {
	__u32 ifindex;
	__u32 id;
	__u32 rows[2]; // offsets, in bytes
	__u32 isolated[2];
	__u64 v4; // as the upper half of an address
	struct address v6;
	__u64 wanting; // when a reply without a record last arrived, in nanoseconds since boot
	__u64 taken_over; // until when replies may belong to connections from before enforcement, same clock
};

struct counter {
	__u64 packets, bytes;
};

// The key of a connection, as seen from the pod.
struct connection {
	struct address remote, local;
	__u32 endpoint;
	__u16 remote_port, local_port;
	__u8 protocol, family;
	__u16 zero;
};

// DENIED is kept, so that packets of the other side do not open the connection again.
enum state { OPENING = 0, OPEN = 1, CLOSING = 2, DENIED = 3 };

struct record {
	__u64 seen; // last packet, in nanoseconds since boot
	__u64 stamp; // of the tables that gave the verdict, see stamp()
	__u8 opener; // EGRESS if the pod opened the connection
	__u8 state;
	__u8 deferred; // whether the verdict was deferred to the hook that delivers
	__u8 is_translated; // whether that hook has seen a packet, so that `to` is known
	__u16 to_port;
	__u16 zero;
	struct address to;
};

// The decision of the hook where a pod sends a packet, for the hook that delivers it.
enum kind { PERMITTED = 0, ANSWER = 1, WAITING = 2 };

// The connection of a packet before translation. `hash` is the flow hash of the skb, which neither translation nor
// other tc programs change.
struct ticket {
	struct connection connection;
	__u64 stamp; // of the tables, see stamp()
	__u32 hash;
	__u8 kind;
	__u8 zero[3];
};

// The maximum number of conntrack records of a pod. When it is exceeded, the pod's own oldest records are replaced.
#define SHARE 8192

// A slot in a pod's share of the records.
struct place {
	__u32 endpoint, number;
};

// Identifies the fragments of one packet.
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

// How many packets this processor may still report.
struct budget {
	__u64 since, left;
};
