// SPDX-License-Identifier: Apache-2.0
//
// Judges the packets of pods, on the host's side of each pod's interface: `from_pod` what a pod sends,
// `to_pod` what it is sent. A verdict is a few reads of arrays, which the resolver keeps. One source for
// IPv4 and IPv6: an address is 128 bits, those of IPv4 in front of zeros.
//
// `from_pod` looks at the source, and drops what the pod may send nowhere. Where a packet goes is known only
// where it is delivered, and there the sender's egress policies are evaluated: by `to_pod` of the pod that it
// reaches, by `leave` of any other interface, by `arrive` where it is for a socket of the node itself.

#include "delivery.h"

// Whether a packet that the pod may not send where it goes now may be translated to where it may: one with
// ports, to an address that is no pod's and not for many.
static __always_inline int may_be_translated(const struct packet *packet, __u64 decision)
{
	if (!judges_at_delivery || !(decision & DEFER))
		return 0;
	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP && packet->protocol != IPPROTO_SCTP)
		return 0;
	return !is_multicast(packet) && !(packet->family == 6 && is_link_local(&packet->destination));
}

// What the policies of a pod say of a packet that it sends. With `asks`, only that: no record is looked for or
// made, and nothing is counted.
static __always_inline int judge_sent(struct __sk_buff *skb, void *all, struct packet *packet,
				      struct endpoint *endpoint, const int asks)
{
	const __u32 is_isolated = endpoint->isolated[EGRESS];
	if (!asks)
		mark(skb, endpoint, 0);
	if (!is_isolated && (asks || !endpoint->isolated[INGRESS]))
		return PASS;
	if (packet->is_later_fragment) {
		int allow = is_isolated == ENFORCED ? judge_fragment(packet, endpoint, EGRESS) : FRAGMENTS_ALLOWED;
		if (allow & FRAGMENTS_DEFERRED)
			mark(skb, endpoint, DEFERRED);
		return allow ? PASS : DROP;
	}
	// A pod reaches itself.
	if (is_own(endpoint, packet->family, &packet->destination))
		return PASS;
	__u64 decision = ALLOW;
	if (is_isolated)
		decision = decide(all, endpoint->rows[EGRESS], packet->family, &packet->destination, packet->protocol,
				  packet->destination_port);
	if (asks)
		return decision & ALLOW ? PASS : DROP;
	int allow = (decision & ALLOW) != 0, kind = PERMITTED;
	if (allow) {
		// TCP says itself which of its packets opens a connection, and which answers that; the others need
		// no record.
		if (packet->protocol != IPPROTO_TCP || packet->tcp_flags & SYN)
			remember(packet, endpoint, EGRESS, 0);
		else if (endpoint->wanting)
			remember_late(packet, endpoint, EGRESS, 0);
	} else if (is_answered_for(skb, packet, endpoint, EGRESS)) {
		allow = 1;
		kind = ANSWER;
	} else if (may_be_translated(packet, decision)) {
		// What answers it passes, unless it is denied where it is delivered.
		remember(packet, endpoint, EGRESS, 1);
		if (endpoint->wanting && packet->protocol == IPPROTO_TCP)
			remember_late(packet, endpoint, EGRESS, 1);
		mark(skb, endpoint, DEFERRED);
		allow = 1;
		kind = WAITING;
	}
	if (packet->is_first_fragment)
		remember_fragments(packet, endpoint, EGRESS,
				   allow ? FRAGMENTS_ALLOWED | (kind == WAITING ? FRAGMENTS_DEFERRED : 0) : 0);
	if (!is_isolated)
		return PASS;
	if (allow)
		keep_ticket(skb, packet, endpoint, kind);
	if (kind == WAITING)
		return PASS;
	count(all, decision & REASON, skb->len);
	if (kind == ANSWER)
		decision |= ALLOW;
	if (!allow || decision & (LOG | AUDIT))
		report(skb, packet, endpoint, decision, EGRESS | BY_POLICY << 1);
	return allow ? PASS : DROP;
}

// What the policies of a pod say of a packet that it is sent, and those of the pod of this node that sent it.
static __always_inline int judge_delivered(struct __sk_buff *skb, void *all, struct packet *packet,
					   struct endpoint *endpoint, const int asks)
{
	const __u32 is_isolated = endpoint->isolated[INGRESS];
	const struct address *peer = &packet->source;
	struct address own;
	// What the node itself sends came from no interface.
	const int is_nodes = !skb->ingress_ifindex;
	if (!asks && !is_nodes) {
		struct endpoint *sender = sender_of(skb, all);
		if (sender) {
			// A pod reaches itself; by way of a Service, its policies decide.
			if (sender == endpoint && packet->source.hi == packet->destination.hi &&
			    packet->source.lo == packet->destination.lo) {
				struct ticket *ticket = ticket_of(skb, sender);
				if (!ticket || (ticket->connection.remote.hi == packet->destination.hi &&
						ticket->connection.remote.lo == packet->destination.lo))
					return PASS;
			}
			if (!settle(skb, packet, sender))
				return DROP;
			// It may come with another address in the place of the pod's own: of the node, or of the
			// Service that the pod answers for.
			own = packet->family == 4 ? (struct address){ .hi = sender->v4 } : sender->v6;
			if (own.hi || own.lo)
				peer = &own;
		}
	}
	if (!asks && skb->tc_index)
		skb->tc_index = 0;
	if (!is_isolated && (asks || !endpoint->isolated[EGRESS]))
		return PASS;
	if (asks && packet->source.hi == packet->destination.hi && packet->source.lo == packet->destination.lo)
		return PASS;
	if (packet->is_later_fragment)
		return is_isolated != ENFORCED || judge_fragment(packet, endpoint, INGRESS) ? PASS : DROP;
	__u64 decision = ALLOW;
	if (is_isolated)
		decision = is_nodes ? ALLOW | NODE :
				      decide_again(endpoint->rows[INGRESS], packet->family, (struct address *)peer,
						   packet->protocol, packet->destination_port);
	if (asks)
		return decision & ALLOW ? PASS : DROP;
	if (is_isolated)
		count(all, decision & REASON, skb->len);
	int allow = (decision & ALLOW) != 0;
	if (allow) {
		if (packet->protocol != IPPROTO_TCP || packet->tcp_flags & SYN)
			remember(packet, endpoint, INGRESS, 0);
		else if (endpoint->wanting)
			remember_late(packet, endpoint, INGRESS, 0);
	} else {
		allow = is_answered_for(skb, packet, endpoint, INGRESS);
		if (allow)
			decision |= ALLOW;
	}
	if (packet->is_first_fragment)
		remember_fragments(packet, endpoint, INGRESS, allow ? FRAGMENTS_ALLOWED : 0);
	if (!allow || decision & (LOG | AUDIT))
		report(skb, packet, endpoint, decision, INGRESS | BY_POLICY << 1);
	return allow ? PASS : DROP;
}

// Whether a packet passes of which nothing is to be kept or reported: of TCP, within a connection that policies
// allow. These are most, and for them this does the same as `judge_sent`, with all in registers. False where
// the packet is to be looked at as a whole.
static __always_inline int passes_from(struct __sk_buff *skb, void *all, struct endpoint *endpoint,
				       const __u8 family, const struct address *own, const struct address *peer,
				       struct tcphdr *tcp)
{
	if (((__u8 *)tcp)[13] & SYN || endpoint->wanting || (!foreign_sources && !is_own(endpoint, family, own)))
		return 0;
	if (endpoint->isolated[EGRESS]) {
		__u64 decision =
			decide(all, endpoint->rows[EGRESS], family, peer, IPPROTO_TCP, bpf_ntohs(tcp->dest));
		if (((__u32)decision & (ALLOW | LOG | AUDIT)) != ALLOW)
			return 0;
		// Delivery finds by it which connection this is, where translation hides that.
		struct ticket *ticket = ticket_at(skb->hash);
		if (ticket && (ticket->hash != skb->hash || ticket->connection.endpoint != endpoint->id ||
			       ticket->kind != PERMITTED))
			return 0;
		count(all, decision & REASON, skb->len);
	}
	mark(skb, endpoint, 0);
	return 1;
}

// The same of a packet that is delivered to a pod, as `judge_delivered` does it.
static __always_inline int passes_to(struct __sk_buff *skb, void *all, struct endpoint *endpoint,
				     const __u8 family, const struct address *own, const struct address *peer,
				     struct tcphdr *tcp)
{
	if (((__u8 *)tcp)[13] & SYN || endpoint->wanting || (!foreign_sources && !is_own(endpoint, family, own)))
		return 0;
	const __u32 from = skb->ingress_ifindex;
	if (!from) {
		if (endpoint->isolated[INGRESS])
			count(all, NODE, skb->len);
		return 1;
	}
	struct endpoint *origin = endpoint_at(all, from);
	if (origin->ifindex == from) {
		if (!origin->id || origin == endpoint || !is_own(origin, family, peer) || skb->tc_index & DEFERRED)
			return 0;
		if (origin->isolated[EGRESS] &&
		    !(decide(all, origin->rows[EGRESS], family, own, IPPROTO_TCP, bpf_ntohs(tcp->dest)) & ALLOW))
			return 0;
	}
	if (endpoint->isolated[INGRESS]) {
		__u64 decision =
			decide(all, endpoint->rows[INGRESS], family, peer, IPPROTO_TCP, bpf_ntohs(tcp->dest));
		if (((__u32)decision & (ALLOW | LOG | AUDIT)) != ALLOW)
			return 0;
		count(all, decision & REASON, skb->len);
	}
	if (skb->tc_index)
		skb->tc_index = 0;
	return 1;
}

// Reads a plain IP header, behind one of Ethernet, and asks `passes_from` or `passes_to`: each family has code
// of its own.
static __always_inline int passes_at_once(struct __sk_buff *skb, void *all, struct endpoint *endpoint,
					  const int direction)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr) > end)
		return 0;
	// Of `struct ethhdr` the compiler would read bytes.
	__be16 protocol = *(__be16 *)(data + 2 * ETH_ALEN);
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;
		if (*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(0x3fff) || ip->protocol != IPPROTO_TCP)
			return 0;
		struct address own = from_v4(direction == EGRESS ? ip->saddr : ip->daddr);
		struct address peer = from_v4(direction == EGRESS ? ip->daddr : ip->saddr);
		return direction == EGRESS ? passes_from(skb, all, endpoint, 4, &own, &peer, (void *)(ip + 1)) :
					     passes_to(skb, all, endpoint, 4, &own, &peer, (void *)(ip + 1));
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		if (data + ETH_HLEN + sizeof(*ip) + sizeof(struct tcphdr) > end || ip->version != 6 ||
		    ip->nexthdr != IPPROTO_TCP)
			return 0;
		// Behind an Ethernet header, each half of an address lies where eight bytes can be read at once.
		__be64 *source = (void *)&ip->saddr, *destination = (void *)&ip->daddr;
		struct address own = from_halves(direction == EGRESS ? source : destination);
		struct address peer = from_halves(direction == EGRESS ? destination : source);
		return direction == EGRESS ? passes_from(skb, all, endpoint, 6, &own, &peer, (void *)(ip + 1)) :
					     passes_to(skb, all, endpoint, 6, &own, &peer, (void *)(ip + 1));
	}
	return 0;
}

// Drops a packet whatever the policies say.
static __always_inline int refuse(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
				  __u32 which, __u32 how)
{
	trouble(which);
	report(skb, packet, endpoint, 0, how);
	return DROP;
}

static __always_inline int sent(struct __sk_buff *skb, void *all, struct endpoint *endpoint, const int asks)
{
	if (!asks && passes_at_once(skb, all, endpoint, EGRESS))
		return PASS;
	struct packet packet;
	int read = read_packet(skb, &packet);
	// Of what cannot be read nobody can tell whether it is from the pod's own address.
	if (read < 0)
		return refuse(skb, &packet, endpoint, UNREAD, EGRESS | UNREADABLE << 1);
	if (asks)
		return judge_sent(skb, all, &packet, endpoint, 1);
	if (!foreign_sources) {
		int is_its_own = read > 0	? may_send_arp(skb, &packet, endpoint) :
				 packet.passes	? may_ask_neighbours(skb, &packet, endpoint) :
						  may_send_from(endpoint, &packet);
		if (!is_its_own)
			return refuse(skb, &packet, endpoint, FOREIGN, EGRESS | FOREIGN_SOURCE << 1);
	}
	if (read > 0 || packet.passes)
		return PASS;
	if (is_to_tunnel(&packet))
		return refuse(skb, &packet, endpoint, TUNNEL, EGRESS | TUNNELLED << 1);
	return judge_sent(skb, all, &packet, endpoint, 0);
}

static __always_inline int delivered(struct __sk_buff *skb, void *all, struct endpoint *endpoint, const int asks)
{
	if (!asks && passes_at_once(skb, all, endpoint, INGRESS))
		return PASS;
	struct packet packet;
	int read = read_packet(skb, &packet);
	if (read > 0)
		return PASS;
	if (read < 0) {
		if (endpoint->isolated[INGRESS] != ENFORCED)
			return PASS;
		return refuse(skb, &packet, endpoint, UNREAD, INGRESS | UNREADABLE << 1);
	}
	if (asks)
		return judge_delivered(skb, all, &packet, endpoint, 1);
	if (packet.passes)
		return PASS;
	if (!foreign_sources && !is_for(skb, endpoint, &packet))
		return refuse(skb, &packet, endpoint, MISDIRECTED, INGRESS | FOREIGN_DESTINATION << 1);
	return judge_delivered(skb, all, &packet, endpoint, 0);
}

static __always_inline int hook(struct __sk_buff *skb, const int direction, const int asks)
{
	void *all = all_tables();
	if (!all)
		return DROP;
	struct endpoint *endpoint = endpoint_at(all, skb->ifindex);
	// The program is there, so somebody's packets are to be judged.
	if (endpoint->ifindex != skb->ifindex) {
		trouble(NOBODYS);
		return DROP;
	}
	return direction == EGRESS ? sent(skb, all, endpoint, asks) : delivered(skb, all, endpoint, asks);
}

SEC("classifier")
int from_pod(struct __sk_buff *skb)
{
	return hook(skb, EGRESS, 0);
}

SEC("classifier")
int to_pod(struct __sk_buff *skb)
{
	return hook(skb, INGRESS, 0);
}

// At any other interface: what a pod sends elsewhere. What leaves carries nothing on, so that no other node
// takes it for its own.
static __always_inline int go(struct __sk_buff *skb, const int has_ethernet)
{
	void *all = all_tables();
	if (!all)
		return DROP;
	struct endpoint *sender = skb->ingress_ifindex ? sender_of(skb, all) : 0;
	if (!sender || !sender->isolated[EGRESS]) {
		if (skb->tc_index)
			skb->tc_index = 0;
		return PASS;
	}
	struct packet packet;
	int read = has_ethernet ? read_packet(skb, &packet) : read_network(skb, &packet);
	if (read > 0)
		return PASS;
	if (read < 0) {
		if (sender->isolated[EGRESS] != ENFORCED)
			return PASS;
		return refuse(skb, &packet, sender, UNREAD, EGRESS | UNREADABLE << 1);
	}
	int allow = settle(skb, &packet, sender);
	if (skb->tc_index)
		skb->tc_index = 0;
	return allow ? PASS : DROP;
}

SEC("classifier")
int leave(struct __sk_buff *skb)
{
	return go(skb, 1);
}

// The same of an interface whose packets have no header in front of that of IP, as tunnels' are.
SEC("classifier")
int leave_network(struct __sk_buff *skb)
{
	return go(skb, 0);
}

// Where a socket of this machine gets a packet: of the node itself, or of a pod, in whose network interfaces
// have other numbers. It is the node's where it is for an address of the node.
SEC("cgroup_skb/ingress")
int arrive(struct __sk_buff *skb)
{
	void *all = all_tables();
	if (!all || !skb->ingress_ifindex)
		return 1;
	struct endpoint *sender = sender_of(skb, all);
	if (!sender || !sender->isolated[EGRESS])
		return 1;
	struct packet packet;
	if (read_network(skb, &packet) < 0) {
		if (sender->isolated[EGRESS] != ENFORCED || !(skb->tc_index & DEFERRED))
			return 1;
		trouble(UNREAD);
		return 0;
	}
	if (!(skb->tc_index & DEFERRED) && !bpf_map_lookup_elem(&node_addresses, &packet.destination))
		return 1;
	int allow = settle(skb, &packet, sender);
	// Nothing but 0 and 1 is taken, and the verifier does not know what a function returns: so that the
	// compiler does not leave out the last step.
	asm volatile("" : "+r"(allow));
	return allow & 1;
}

// The generation in force: what is attached to interfaces goes on to the programs in here, so that one
// store changes what judges the packets of all of them.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} in_force SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} in_force_for_sockets SEC(".maps");

SEC("classifier")
int enter_from_pod(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force, EGRESS);
	return DROP;
}

SEC("classifier")
int enter_to_pod(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force, INGRESS);
	return DROP;
}

// The same once more: an interface has no program twice, and one of them takes the place in front while the
// other is still attached.
SEC("classifier")
int enter_from_pod_again(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force, EGRESS);
	return DROP;
}

SEC("classifier")
int enter_to_pod_again(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force, INGRESS);
	return DROP;
}

SEC("classifier")
int enter_leave(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force, 2);
	return skb->tc_index & DEFERRED ? DROP : PASS;
}

SEC("classifier")
int enter_leave_network(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force, 3);
	return skb->tc_index & DEFERRED ? DROP : PASS;
}

SEC("cgroup_skb/ingress")
int enter_arrive(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force_for_sockets, 0);
	return skb->tc_index & DEFERRED ? 0 : 1;
}

// What the loader asks, never attached.
SEC("classifier")
int ask_from_pod(struct __sk_buff *skb)
{
	return hook(skb, EGRESS, 1);
}

SEC("classifier")
int ask_to_pod(struct __sk_buff *skb)
{
	return hook(skb, INGRESS, 1);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
