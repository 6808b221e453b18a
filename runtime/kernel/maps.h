// SPDX-License-Identifier: Apache-2.0
//
// The maps, and the constants that are set when the program is loaded.

#pragma once

#include "tables.h"

// The generation of the tables. Set when the program is loaded.
volatile const __u32 generation = 0;

// Whether pods may send from, and receive for, foreign addresses; whether a denied packet that may be translated is
// deferred to the hook that delivers it; and the maximum number of packets that a processor reports in a second.
volatile const __u32 foreign_sources = 0;
volatile const __u32 judges_at_delivery = 1;
volatile const __u32 reports_per_second = 1000;

// All tables, one after the other in a single value, so that a packet needs one map lookup and each cell is read in
// place. Their size is set when the program is loaded: the loader replaces this number, which occurs nowhere else
// in the object.
#define SIZE_OF_TABLES 0x4e504321

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, SIZE_OF_TABLES);
} tables SEC(".maps");

// The offset of each table, in bytes. Set when the program is loaded, so that the verifier treats it as a constant
// (see runtime/resolver/src/layout.rs). `branches` begin at 0, and references to a comparison, a row or a list are
// offsets themselves. `senders` maps the id bits that a packet carries to an index in `endpoints` plus one, or to
// 0. `epoch` counts the changes of these tables. `counters` has the counters of each reason for each processor.
volatile const struct {
	__u32 port_columns, endpoints, senders, epoch, counters;
	__u32 last; // the last offset at which the largest cell still lies in the tables
	__u32 endpoint_mask; // the number of slots of `endpoints`, less one
	__u32 counters_each; // the number of counters per processor
} layout = {};

static __always_inline void *all_tables(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&tables, &zero);
}

// Returns a pointer to an offset in the tables, or null if it is out of bounds. An index that is masked to the size
// of its table needs no check, because the verifier knows its range.
static __always_inline void *at(void *all, __u64 place)
{
	return place > layout.last ? 0 : all + place;
}

static __always_inline struct endpoint *endpoint_at(void *all, __u32 number)
{
	return all + layout.endpoints + (__u64)(number & layout.endpoint_mask) * sizeof(struct endpoint);
}

// The conntrack records of all pods. Each pod has a share of them, whose slots it fills in turn: `shares` maps a
// slot to its connection, and `next_places` a pod to its next slot. Memory is allocated on insertion.
#define RECORDS (1 << 20)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, RECORDS);
	__type(key, struct connection);
	__type(value, struct record);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, RECORDS);
	__type(key, struct place);
	__type(value, struct connection);
} shares SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 13);
	__type(key, __u32);
	__type(value, __u32);
} next_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 12);
	__type(key, struct fragments);
	__type(value, struct fragments_verdict);
} fragment_verdicts SEC(".maps");

// Decisions about packets between two hooks, by flow hash. A packet passes both hooks on the same processor unless
// it is queued in between.
#define TICKETS 2048

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TICKETS);
	__type(key, __u32);
	__type(value, struct ticket);
} tickets SEC(".maps");

// The addresses of the node itself, including link-local and broadcast addresses.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct address);
	__type(value, __u8);
} node_addresses SEC(".maps");

// The UDP ports at which the node decapsulates tunnel packets, one bit for each port.
struct tunnel_ports {
	__u64 bits[1024];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tunnel_ports);
} tunnels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

// The number of the last generation, for the next one.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} last_generation SEC(".maps");

// Counts of packets that were dropped regardless of policies, and of lost reports: packets that cannot be parsed;
// fragments without a known first fragment; lost reports; packets at an interface that belongs to no known pod;
// packets from a foreign source address; packets that were allowed where they were sent and denied at delivery;
// packets to a foreign destination address; and packets encapsulated for a tunnel of the node.
enum trouble {
	UNREAD = 0,
	FRAGMENT = 1,
	LOST = 2,
	NOBODYS = 3,
	FOREIGN = 4,
	BETWEEN = 5,
	MISDIRECTED = 6,
	TUNNEL = 7,
	TROUBLES = 8
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TROUBLES);
	__type(key, __u32);
	__type(value, __u64);
} troubles SEC(".maps");
