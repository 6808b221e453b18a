// SPDX-License-Identifier: Apache-2.0
//
// What the policies say of a packet, and what is counted and told of it.

#pragma once

#include "packet.h"

// The class of an address. Every step takes at least one byte more, so that sixteen are enough for any
// trie; a step more for each comparison.
static __always_inline __u32 class_of(__u8 family, const struct address *address)
{
	__u32 number = (family == 4 ? 0 : ROOT) + (address->hi >> 56);
	__u32 at = 1;
	__u32 cell = 0;
	struct branch *branch = bpf_map_lookup_elem(&branches, &number);
	if (!branch)
		return 0;
	cell = branch->cells[address->hi >> 48 & 255];
	for (int i = 0; i < 32; i++) {
		__u32 tag = cell & TAG;
		if (tag == 0)
			return cell;
		if (tag == BRANCH) {
			number = cell & NUMBER;
			at = cell >> BYTE_SHIFT & 15;
			branch = bpf_map_lookup_elem(&branches, &number);
			if (!branch)
				return 0;
			__u64 half = at < 8 ? address->hi : address->lo;
			cell = branch->cells[half >> (56 - (at & 7) * 8) & 255];
		} else {
			number = cell & ~TAG;
			struct compare *compare = bpf_map_lookup_elem(&compares, &number);
			if (!compare)
				return 0;
			cell = (address->hi & compare->mask.hi) == compare->prefix.hi &&
					       (address->lo & compare->mask.lo) == compare->prefix.lo ?
				       compare->yes :
				       compare->no;
		}
	}
	return 0;
}

static __always_inline __u32 column_of(__u8 protocol, __u16 port)
{
	__u32 index;
	switch (protocol) {
	case IPPROTO_TCP:
		index = 0;
		break;
	case IPPROTO_UDP:
		index = 65536 / 32;
		break;
	case IPPROTO_SCTP:
		index = 2 * (65536 / 32);
		break;
	default:
		return 0;
	}
	index += port >> 5;
	struct ports *ports = bpf_map_lookup_elem(&port_columns, &index);
	return ports ? ports->columns[port & 31] : 0;
}

// What the policies say of a peer, on a port. Rows and lists are told by where their cells begin.
static __always_inline __u64 decide(__u32 row, __u8 family, const struct address *peer, __u8 protocol,
				    __u16 port)
{
	__u32 cell = row + class_of(family, peer);
	__u32 index = cell >> 8;
	struct row_part *part = bpf_map_lookup_elem(&rows, &index);
	if (!part)
		return 0;
	cell = part->lists[cell & 255] + column_of(protocol, port);
	index = cell >> 5;
	struct list_part *list = bpf_map_lookup_elem(&lists, &index);
	return list ? list->decisions[cell & 31] : 0;
}

// The same where it is not asked of every packet.
__noinline __u64 decide_again(__u32 row, __u32 family, struct address *peer, __u32 protocol, __u32 port)
{
	return peer ? decide(row, family, peer, protocol, port) : 0;
}

static __always_inline void count(__u32 reason, __u32 length)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &reason);
	if (counter) {
		counter->packets++;
		counter->bytes += length;
	}
}

static __always_inline void trouble(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&troubles, &which);
	if (counter)
		(*counter)++;
}

#define SECOND 1000000000ull

// Whether this processor may report one more: so many in a second, and as many at once.
static __always_inline int may_report(__u64 now)
{
	__u32 zero = 0;
	struct budget *budget = bpf_map_lookup_elem(&budgets, &zero);
	if (!budget)
		return 0;
	__u64 passed = now - budget->since;
	__u64 earned = passed > SECOND ? reports_per_second : passed * reports_per_second / SECOND;
	if (earned) {
		__u64 left = budget->left + earned;
		budget->left = left < reports_per_second ? left : reports_per_second;
		budget->since = now;
	}
	if (!budget->left)
		return 0;
	budget->left--;
	return 1;
}

__noinline int report(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
			     __u64 decision, __u32 how)
{
	if (!packet || !endpoint)
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	struct event *event = may_report(now) ? bpf_ringbuf_reserve(&events, sizeof(*event), 0) : 0;
	if (!event) {
		trouble(LOST);
		return 0;
	}
	event->time = now;
	event->ifindex = endpoint->ifindex;
	event->endpoint = endpoint->id;
	event->enforced = decision;
	event->audited = decision >> 32;
	event->generation = generation;
	event->direction = how & 1;
	event->cause = how >> 1;
	event->protocol = packet->protocol;
	event->family = packet->family;
	event->source = packet->source;
	event->destination = packet->destination;
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	event->length = skb->len;
	bpf_ringbuf_submit(event, 0);
	return 0;
}
