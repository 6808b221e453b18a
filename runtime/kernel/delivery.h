// SPDX-License-Identifier: Apache-2.0
//
// Evaluates egress policies where a packet is delivered: to a pod, by another interface of the node, or to a socket
// of the node. The final destination is known only there, because the node may translate addresses (NodePort,
// ClusterIP, load balancers).
//
// The sender is identified by skb->ingress_ifindex, which translation does not change. For a pod behind a bridge
// this is the bridge if the node routed the packet: then the ticket identifies the sender, or else the mark.

#pragma once

#include "senders.h"

// Marks a packet with its sender.
static __always_inline void mark(struct __sk_buff *skb, const struct endpoint *endpoint, __u32 deferred)
{
	skb->tc_index = (endpoint->id & SENDER) | deferred;
}

// Returns this processor's ticket slot for a flow hash, or null if there is no hash.
static __always_inline struct ticket *ticket_at(__u32 hash)
{
	__u32 number = hash % TICKETS;
	return hash ? bpf_map_lookup_elem(&tickets, &number) : 0;
}

// Returns the ticket of a packet of this pod, if there is one.
static __always_inline struct ticket *ticket_of(struct __sk_buff *skb, const struct endpoint *endpoint)
{
	struct ticket *ticket = ticket_at(skb->hash);
	return ticket && ticket->hash == skb->hash && ticket->connection.endpoint == endpoint->id ? ticket : 0;
}

// Stores the decision about a packet for the hook that delivers it.
__noinline int keep_ticket(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint, int kind)
{
	if (!packet || !endpoint)
		return 0;
	__u32 hash = bpf_get_hash_recalc(skb);
	struct ticket *ticket = ticket_at(hash);
	if (!ticket)
		return 0;
	key_of(&ticket->connection, packet, endpoint->id, EGRESS);
	ticket->stamp = stamp();
	ticket->hash = hash;
	ticket->kind = kind;
	return 0;
}

// Returns the pod with these id bits, which a packet carries.
static __always_inline struct endpoint *endpoint_with(__u32 id)
{
	__u32 number = id & SENDER;
	void *all = all_tables();
	__u32 *place = all ? at(all, layout.senders + number * sizeof(*place)) : 0;
	if (!place || !*place)
		return 0;
	struct endpoint *endpoint = endpoint_at(all, *place - 1);
	return (endpoint->id & SENDER) == number ? endpoint : 0;
}

// Returns the entry of the interface that a packet came from: a pod, a bridge, or null.
static __always_inline struct endpoint *origin_of(struct __sk_buff *skb, void *all)
{
	__u32 from = skb->ingress_ifindex;
	struct endpoint *origin = endpoint_at(all, from);
	return from && origin->ifindex == from ? origin : 0;
}

// Returns the pod that sent a packet which the node received by a bridge.
static __always_inline struct endpoint *behind_bridge(struct __sk_buff *skb)
{
	struct ticket *ticket = ticket_at(skb->hash);
	if (ticket && ticket->hash == skb->hash)
		return endpoint_with(ticket->connection.endpoint);
	return endpoint_with(skb->tc_index);
}

// Returns the local pod that sent a packet, or null.
static __always_inline struct endpoint *sender_of(struct __sk_buff *skb, void *all)
{
	struct endpoint *origin = origin_of(skb, all);
	return origin && !origin->id ? behind_bridge(skb) : origin;
}

// Stores the translated destination of a connection and the verdict on it in the connection's record, which
// determines whether its replies pass.
static __always_inline void confirm(const struct packet *packet, const struct ticket *ticket, int allow)
{
	struct connection key = ticket->connection;
	struct record *record = bpf_map_lookup_elem(&records, &key);
	if (!record || record->opener != EGRESS)
		return;
	record->to = packet->destination;
	record->to_port = packet->destination_port;
	record->deferred = 1;
	record->is_translated = 1;
	record->stamp = stamp();
	if (!allow)
		record->state = DENIED;
	else if (record->state == DENIED)
		record->state = OPEN;
}

// Whether a packet is a reply of an allowed connection, by the addresses that the pod used before translation.
static __always_inline int is_known_answer(const struct ticket *ticket, struct endpoint *endpoint)
{
	if (ticket->kind == ANSWER && ticket->stamp == stamp())
		return 1;
	struct connection key = ticket->connection;
	struct record *record = bpf_map_lookup_elem(&records, &key);
	return record && record->opener == INGRESS && !is_over(record, key.protocol, bpf_ktime_get_boot_ns()) &&
	       is_allowed(record, &key, endpoint);
}

// Whether a packet of a pod may be delivered, according to the pod's egress policies for the current destination.
__noinline int settle(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint)
{
	if (!packet || !endpoint)
		return 0;
	// Neighbour discovery is not forwarded, and was checked where the pod sent it.
	if (!endpoint->isolated[EGRESS] || packet->passes)
		return 1;
	if (packet->is_later_fragment)
		return endpoint->isolated[EGRESS] != ENFORCED || judge_fragment(packet, endpoint, EGRESS);
	const __u32 carried = skb->tc_index;
	struct ticket *ticket = ticket_of(skb, endpoint);
	const int deferred =
		ticket ? ticket->kind == WAITING : (carried & SENDER) == (endpoint->id & SENDER) && carried & DEFERRED;
	__u64 decision = decide_again(endpoint->rows[EGRESS], packet->family, &packet->destination,
				      packet->protocol, packet->destination_port);
	int allow = (decision & ALLOW) != 0, answers = 0, translated = 0;
	if (ticket) {
		const struct connection *before = &ticket->connection;
		translated = before->remote.hi != packet->destination.hi || before->remote.lo != packet->destination.lo ||
			     before->remote_port != packet->destination_port;
		if (!allow && !deferred)
			// The node may have encrypted or encapsulated the packet, which hides its destination.
			answers = before->protocol != packet->protocol || is_known_answer(ticket, endpoint);
		if (!answers && (deferred || translated))
			confirm(packet, ticket, allow);
	} else if (!allow && !deferred) {
		// The same for a packet whose ticket was lost.
		answers = (packet->protocol == IPPROTO_ESP || packet->protocol == IPPROTO_AH) &&
			  (carried & SENDER) == (endpoint->id & SENDER);
		answers = answers || is_answered_for(skb, packet, endpoint, EGRESS);
	}
	if (packet->is_first_fragment)
		remember_fragments(packet, endpoint, EGRESS, allow || answers ? FRAGMENTS_ALLOWED : 0);
	if (answers)
		return 1;
	if (!allow && !deferred && !translated)
		trouble(BETWEEN);
	if (deferred || translated) {
		void *all = all_tables();
		if (all)
			count(all, decision & REASON, skb->len);
	}
	if (!allow || ((deferred || translated) && decision & (LOG | AUDIT)))
		report(skb, packet, endpoint, decision, EGRESS | BY_POLICY << 1);
	return allow;
}
