// SPDX-License-Identifier: Apache-2.0
//
// The maps, and what is set when the program is loaded.

#pragma once

#include "tables.h"

// Set when the program is loaded: which generation of tables these are.
volatile const __u32 generation = 0;

// Whether pods may send from, and be sent to, addresses that are not theirs; whether a packet that a pod may
// not send to its destination is held for the verdict at delivery, since it may be translated; and how many
// packets a processor may report in a second.
volatile const __u32 foreign_sources = 0;
volatile const __u32 judges_at_delivery = 1;
volatile const __u32 reports_per_second = 1000;

// All tables, one behind the other in one value, so that a packet takes one lookup, and each cell is read
// where it lies. How large it is is set when the program is loaded, in the place of this number, which stands
// nowhere else in the object.
#define SIZE_OF_TABLES 0x4e504321

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, SIZE_OF_TABLES);
} tables SEC(".maps");

// Where each table begins, in bytes: set when the program is loaded, so that it is a constant to the verifier
// (see runtime/resolver/src/layout.rs). `branches` begin at 0, and what refers to a comparison, a row or a list
// says itself where that begins. `senders` holds of each number that a packet can carry the place in
// `endpoints`, and one more, or 0 of nobody's; `epoch` how often these tables changed; `counters` of each
// processor what it counted of each reason.
volatile const struct {
	__u32 port_columns, endpoints, senders, epoch, counters;
	__u32 last; // the last place from which a whole cell of any table can be read
	__u32 endpoint_mask; // how many endpoints there is room for, less one
	__u32 counters_each; // how many counters each processor has
} layout = {};

static __always_inline void *all_tables(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&tables, &zero);
}

// What stands at a place in the tables; nothing where that is outside. What is masked to the number of
// a table's cells is read without asking: the verifier knows, too, that it is there.
static __always_inline void *at(void *all, __u64 place)
{
	return place > layout.last ? 0 : all + place;
}

static __always_inline struct endpoint *endpoint_at(void *all, __u32 number)
{
	return all + layout.endpoints + (__u64)(number & layout.endpoint_mask) * sizeof(struct endpoint);
}

// The records of connections, of all pods. Each pod has a share of them, whose places it fills one after the
// other: `shares` says which connection has a place, `next_places` which is next. Memory is taken as they are.
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

// What was decided about the packets that are between two hooks, by flow hash. A packet goes from the one hook
// to the other on one processor unless something queues it in between.
#define TICKETS 2048

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TICKETS);
	__type(key, __u32);
	__type(value, struct ticket);
} tickets SEC(".maps");

// The addresses of the node itself, those of links and broadcasts included.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct address);
	__type(value, __u8);
} node_addresses SEC(".maps");

// The UDP ports at which the node takes packets out of a tunnel: a bit for each.
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

// The last generation that was made, for whoever makes the next.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} last_generation SEC(".maps");

// Packets that were dropped whatever the policies say, and reports that were lost: packets that cannot be
// read, fragments of unknown packets, lost reports, packets by an interface that is no pod's, packets from an
// address that is not the pod's, packets on which two generations differ, packets to an address that is not
// the pod's, and encapsulated packets to a tunnel of the node.
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
