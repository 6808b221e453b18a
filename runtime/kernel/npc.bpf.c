// SPDX-License-Identifier: Apache-2.0
//
// Evaluates the packets of pods at the host end of each pod's interface: `from_pod` those that a pod sends,
// `to_pod` those that it receives. A verdict takes a few array reads from tables that the resolver maintains. IPv4
// and IPv6 share this code: addresses have 128 bits, of which IPv4 addresses occupy the upper 32.
//
// `from_pod` checks the source address, and drops packets that no destination could make allowed. The final
// destination is known only where the packet is delivered. The sender's egress policies are evaluated there: by
// `to_pod` of the receiving pod, by `leave` of any other interface, or by `arrive` for a socket of the node itself.

#include "delivery.h"

// Whether a packet to a denied destination may be translated to an allowed one: it has ports, and its destination
// is neither a pod's address nor multicast.
static __always_inline int may_be_translated(const struct packet *packet, __u64 decision)
{
	if (!judges_at_delivery || !(decision & DEFER))
		return 0;
	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP && packet->protocol != IPPROTO_SCTP)
		return 0;
	return !is_multicast(packet) && !(packet->family == 6 && is_link_local(&packet->destination));
}

// Evaluates the egress policies of a pod for a packet that it sends. With `asks`, conntrack records are not used or
// changed, and nothing is counted.
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
	// A pod may always reach itself.
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
		// TCP flags show which packets open a connection and which answer that. Other packets need no
		// record.
		if (packet->protocol != IPPROTO_TCP || packet->tcp_flags & SYN)
			remember(packet, endpoint, EGRESS, 0);
		else if (endpoint->wanting)
			remember_late(packet, endpoint, EGRESS, 0);
	} else if (is_answered_for(skb, packet, endpoint, EGRESS)) {
		allow = 1;
		kind = ANSWER;
	} else if (may_be_translated(packet, decision)) {
		// Replies pass, unless the connection is denied at delivery.
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

// Evaluates the ingress policies of a pod for a packet that it receives, and the egress policies of a local sender.
static __always_inline int judge_delivered(struct __sk_buff *skb, void *all, struct packet *packet,
					   struct endpoint *endpoint, const int asks)
{
	const __u32 is_isolated = endpoint->isolated[INGRESS];
	const struct address *peer = &packet->source;
	struct address own;
	// Packets from the node itself came in by no interface.
	const int is_nodes = !skb->ingress_ifindex;
	if (!asks && !is_nodes) {
		struct endpoint *sender = sender_of(skb, all);
		if (sender) {
			// A pod may always reach itself; through a Service its policies apply.
			if (sender == endpoint && packet->source.hi == packet->destination.hi &&
			    packet->source.lo == packet->destination.lo) {
				struct ticket *ticket = ticket_of(skb, sender);
				if (!ticket || (ticket->connection.remote.hi == packet->destination.hi &&
						ticket->connection.remote.lo == packet->destination.lo))
					return PASS;
			}
			if (!settle(skb, packet, sender))
				return DROP;
			// The source address may have been replaced by one of the node, or by the address of the
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

// The fast path of `judge_sent`, for the most frequent packets: TCP packets within a connection that the policies
// allow, for which nothing is stored or reported. All values are in registers. Returns 0 if the packet needs the
// slow path.
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
		// At delivery the ticket identifies the connection, even after translation. If the slot
		// of the packet's hash holds another ticket, the slow path replaces it.
		struct ticket *ticket = ticket_at(skb->hash);
		if (ticket && (ticket->hash != skb->hash || ticket->connection.endpoint != endpoint->id ||
			       ticket->kind != PERMITTED))
			return 0;
		count(all, decision & REASON, skb->len);
	}
	mark(skb, endpoint, 0);
	return 1;
}

// The fast path of `judge_delivered`.
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

// Parses a plain Ethernet and IP header, and calls `passes_from` or `passes_to`. Each family has its own copy of
// their code.
static __always_inline int passes_at_once(struct __sk_buff *skb, void *all, struct endpoint *endpoint,
					  const int direction)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr) > end)
		return 0;
	// `struct ethhdr` is packed, so that the compiler would read single bytes.
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
		// After an Ethernet header, the halves of the addresses are aligned for 8-byte reads.
		__be64 *source = (void *)&ip->saddr, *destination = (void *)&ip->daddr;
		struct address own = from_halves(direction == EGRESS ? source : destination);
		struct address peer = from_halves(direction == EGRESS ? destination : source);
		return direction == EGRESS ? passes_from(skb, all, endpoint, 6, &own, &peer, (void *)(ip + 1)) :
					     passes_to(skb, all, endpoint, 6, &own, &peer, (void *)(ip + 1));
	}
	return 0;
}

// Drops a packet regardless of policies.
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
	// The source address of a packet that cannot be parsed cannot be checked.
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
	// The program is attached, so that the packets of some pod should be evaluated: drop them until it is
	// known.
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

// Evaluates packets that pods send by any other interface. Clears the mark, so that no other node takes it for its
// own.
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

// The same for an interface whose packets begin with the IP header, such as a tunnel.
SEC("classifier")
int leave_network(struct __sk_buff *skb)
{
	return go(skb, 0);
}

// Evaluates packets from pods to sockets of this machine. The hook also sees packets for sockets in pods, whose
// network namespaces have other ifindexes. A packet is for the node if its destination is one of the node's
// addresses.
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
	// Only 0 and 1 are valid return values, and the verifier does not know the range of a global function's
	// result. The barrier keeps the compiler from removing the mask.
	asm volatile("" : "+r"(allow));
	return allow & 1;
}

// The programs of the generation in force. The programs attached to interfaces tail-call into this map, so that one
// update replaces the program for all interfaces.
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

// Second copies of the entry programs: a program cannot be attached to an interface twice, and the new one must be
// attached in front before the old one is detached.
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

// For queries by the loader; never attached.
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
