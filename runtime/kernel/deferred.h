// SPDX-License-Identifier: Apache-2.0
//
// What is judged where it leaves: packets to addresses of services, which are for whoever they are
// translated to; and packets whose first hook judged them by another generation.

#pragma once

#include "fragments.h"

// Whether an address is the pod's own.
static __always_inline int is_own(const struct endpoint *endpoint, __u8 family, const struct address *address)
{
	if (family == 4)
		return address->hi == endpoint->v4;
	return address->hi == endpoint->v6.hi && address->lo == endpoint->v6.lo;
}

// Whether a pod may send from an address: its own, or one that no router passes on.
static __always_inline int may_send_from(const struct endpoint *endpoint, const struct packet *packet)
{
	return is_own(endpoint, packet->family, &packet->source) ||
	       (packet->family == 6 && packet->source.hi >> 54 == 0xfe80 >> 6);
}

// Whether a pod may send this of neighbour discovery whatever the policies say: a question or an answer, or
// who listens to which groups, from an address of its own or none, to the link.
static __always_inline int may_ask_neighbours(const struct endpoint *endpoint, const struct packet *packet)
{
	__u8 type = packet->icmp_type;
	if (type == 134 || type == 137)
		return 0;
	if (packet->destination.hi >> 56 != 0xff && packet->destination.hi >> 54 != 0xfe80 >> 6)
		return 0;
	return (!packet->source.hi && !packet->source.lo) || may_send_from(endpoint, packet);
}

// Marks a packet as this pod's, for the hook where it leaves.
static __always_inline void mark(struct __sk_buff *skb, const struct endpoint *endpoint, __u32 deferred)
{
	skb->tc_index = (endpoint->id & SENDER) | (generation & 3) << GENERATION_SHIFT | deferred;
}

// Whether a mark says that the sender is to be asked again.
static __always_inline int is_unsettled(__u32 mark)
{
	return mark & DEFERRED || (mark & SENDER && (mark >> GENERATION_SHIFT & 3) != (generation & 3));
}

static __always_inline struct endpoint *sender_of(__u32 mark)
{
	__u32 number = mark & SENDER;
	void *all = all_tables();
	__u32 *place = all ? at(all, layout.senders + number * sizeof(*place)) : 0;
	if (!place || !*place)
		return 0;
	struct endpoint *endpoint = endpoint_at(all, *place - 1);
	return (endpoint->id & SENDER) == number ? endpoint : 0;
}

// Lets a packet through to be translated. What answers it passes, unless it is denied where it leaves.
// Gives the mark.
__noinline int defer(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint)
{
	if (!packet || !endpoint)
		return 0;
	if (is_answered_for(skb, packet, endpoint, EGRESS))
		return 0;
	remember(packet, endpoint, EGRESS, 1);
	if (endpoint->wanting && packet->protocol == IPPROTO_TCP)
		remember_late(packet, endpoint, EGRESS, 1);
	__u32 ticket = bpf_get_hash_recalc(skb) % TICKETS;
	struct connection *connection = bpf_map_lookup_elem(&tickets, &ticket);
	if (connection)
		key_of(connection, packet, endpoint->id, EGRESS);
	return DEFERRED;
}

// The record of a packet that was deferred is true to what was decided, and to where it went.
static __always_inline void confirm(struct __sk_buff *skb, const struct packet *packet, __u32 endpoint, int allow)
{
	__u32 ticket = skb->hash % TICKETS;
	struct connection *connection = bpf_map_lookup_elem(&tickets, &ticket);
	if (!connection)
		return;
	struct connection key = *connection;
	// Somebody else's packet may have the same hash: a pod's packets speak only for its own records.
	if (key.endpoint != endpoint)
		return;
	struct record *record = bpf_map_lookup_elem(&records, &key);
	if (!record || !record->deferred)
		return;
	if (!packet->is_later_fragment) {
		record->to = packet->destination;
		record->to_port = packet->destination_port;
		record->is_translated = 1;
	}
	record->stamp = stamp();
	if (!allow)
		record->state = DENIED;
	else if (record->state == DENIED)
		record->state = OPEN;
}

// Whether a packet may leave, as its sender's policies say of where it goes now.
__noinline int settle(struct __sk_buff *skb, struct packet *packet, __u32 mark)
{
	if (!packet)
		return 0;
	struct endpoint *endpoint = sender_of(mark);
	if (!endpoint) {
		trouble(NOBODYS);
		return 0;
	}
	const int deferred = (mark & DEFERRED) != 0;
	if (!endpoint->isolated[EGRESS] || is_own(endpoint, packet->family, &packet->destination)) {
		if (deferred)
			confirm(skb, packet, endpoint->id, 1);
		return 1;
	}
	if (packet->is_later_fragment)
		return endpoint->isolated[EGRESS] != ENFORCED || judge_fragment(packet, endpoint, EGRESS);
	__u64 decision = decide_again(endpoint->rows[EGRESS], packet->family, &packet->destination,
				      packet->protocol, packet->destination_port);
	int allow = (decision & ALLOW) != 0;
	if (!allow && !deferred) {
		allow = is_answered_for(skb, packet, endpoint, EGRESS);
		if (!allow)
			trouble(BETWEEN);
	}
	if (packet->is_first_fragment)
		remember_fragments(packet, endpoint, EGRESS, allow ? FRAGMENTS_ALLOWED : 0);
	if (deferred) {
		void *all = all_tables();
		if (all)
			count(all, decision & REASON, skb->len);
		confirm(skb, packet, endpoint->id, allow);
		if (!allow || decision & (LOG | AUDIT))
			report(skb, packet, endpoint, decision, EGRESS | BY_POLICY << 1);
	}
	return allow;
}

// What a pod's policies say of a packet that another pod of this node sent, by that pod's own address. The
// node's own verdict where that is not known.
__noinline __u64 decide_for_sender(struct packet *packet, struct endpoint *endpoint, __u32 mark)
{
	const __u64 node = ALLOW | NODE;
	if (!packet || !endpoint)
		return node;
	struct endpoint *sender = sender_of(mark);
	if (!sender || sender->id == endpoint->id)
		return node;
	struct address peer = packet->family == 4 ? (struct address){ .hi = sender->v4 } : sender->v6;
	if (!peer.hi && !peer.lo)
		return node;
	return decide_again(endpoint->rows[INGRESS], packet->family, &peer, packet->protocol,
			    packet->destination_port);
}
