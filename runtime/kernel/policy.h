// SPDX-License-Identifier: Apache-2.0
//
// The evaluation of policies, and counters and reports.

#pragma once

#include "maps.h"
#include "packet.h"

// Returns the cell that follows a cell of the trie, or 0 if it is out of bounds.
static __always_inline __u64 step(void *all, __u64 cell, const struct address *address)
{
	if (cell & BRANCH) {
		__u64 half = cell & LOWER ? address->lo : address->hi;
		// A shift uses only the lowest six bits, which hold the distance. A branch has 2^8 cells of 2^2
		// bytes.
		__u32 *next = at(all, (cell & NUMBER) << 4 | (half >> (cell & 63) & 255) << 2);
		return next ? *next : 0;
	}
	struct compare *compare = at(all, (cell & ~TAG) << 3);
	if (!compare)
		return 0;
	return (address->hi & compare->mask.hi) == compare->prefix.hi &&
			       (address->lo & compare->mask.lo) == compare->prefix.lo ?
		       compare->yes :
		       compare->no;
}

// Returns the class of an address. The first two bytes select the first cell, and each step examines at least one
// further byte (see runtime/resolver/src/trie.rs).
static __always_inline __u32 class_of(void *all, __u8 family, const struct address *address)
{
	__u64 place = ((family == 4 ? 0 : ROOT << 8) + (address->hi >> 48)) << 2;
	__u64 cell = *(__u32 *)(all + place);
	// IPv4 needs no more steps than these, and IPv6 rarely does.
	_Pragma("unroll") for (int i = 0; i < STEPS_V4; i++) {
		if (!(cell & TAG))
			return cell;
		cell = step(all, cell, address);
	}
	for (int i = STEPS_V4; i < (family == 4 ? STEPS_V4 : STEPS_V6); i++) {
		if (!(cell & TAG))
			return cell;
		cell = step(all, cell, address);
	}
	return cell & TAG ? 0 : cell;
}

static __always_inline __u32 column_of(void *all, __u8 protocol, __u16 port)
{
	__u32 number;
	switch (protocol) {
	case IPPROTO_TCP:
		number = 0;
		break;
	case IPPROTO_UDP:
		number = 65536;
		break;
	case IPPROTO_SCTP:
		number = 2 * 65536;
		break;
	default:
		return 0;
	}
	// The compiler knows that a byte swap leaves 16 bits and would remove the mask, but the verifiers of most
	// kernels do not. The barrier hides the range from the compiler.
	__u32 known = port;
	asm volatile("" : "+r"(known));
	known &= 0xffff;
	return *(__u16 *)(all + layout.port_columns + (number + known) * sizeof(__u16));
}

// Returns the decision for a peer and a port, or 0.
static __always_inline __u64 decide(void *all, __u32 row, __u8 family, const struct address *peer,
				    __u8 protocol, __u16 port)
{
	__u32 *list = at(all, row + (__u64)class_of(all, family, peer) * sizeof(*list));
	if (!list)
		return 0;
	__u64 *decision = at(all, *list + (__u64)column_of(all, protocol, port) * sizeof(*decision));
	return decision ? *decision : 0;
}

// The same as a global function, for paths that not every packet takes.
__noinline __u64 decide_again(__u32 row, __u32 family, struct address *peer, __u32 protocol, __u32 port)
{
	void *all = all_tables();
	return peer && all ? decide(all, row, family, peer, protocol, port) : 0;
}

static __always_inline void count(void *all, __u32 reason, __u32 length)
{
	__u64 number = (__u64)bpf_get_smp_processor_id() * layout.counters_each + reason;
	struct counter *counter = at(all, layout.counters + number * sizeof(*counter));
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

// Whether this processor may report another packet. The token bucket holds the reports of one second.
static __always_inline int may_report(__u64 now)
{
	__u32 zero = 0;
	struct budget *budget = bpf_map_lookup_elem(&budgets, &zero);
	if (!budget)
		return 0;
	// The budget belongs to this processor, whose clock does not go backwards.
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
