// SPDX-License-Identifier: Apache-2.0
//
// Judges the packets of pods, on the host's side of each pod's interface: `from_pod` what a pod sends,
// `to_pod` what it is sent. A verdict is a few reads of arrays, which the resolver keeps. One source for
// IPv4 and IPv6: an address is 128 bits, those of IPv4 in front of zeros.
//
// What a pod sends to the address of a service is judged where it leaves, after translation: `to_pod` of
// the pod that it reaches, `leave` of any other interface, `arrive` where it is for the node itself.

#include "deferred.h"

// What the policies of a pod in one direction say of a packet. With `asks`, only that: no record is looked
// for or made, and nothing is counted.
static __always_inline int judge(struct __sk_buff *skb, void *all, struct packet *packet,
				 struct endpoint *endpoint, const int direction, const int asks)
{
	const __u32 is_isolated = endpoint->isolated[direction];
	__u32 sender = 0;
	if (!asks && direction == INGRESS) {
		sender = skb->tc_index;
		if (sender) {
			if (is_unsettled(sender) && !settle(skb, packet, sender))
				return DROP;
			skb->tc_index = 0;
		}
	}
	if (!asks && direction == EGRESS)
		mark(skb, endpoint, 0);
	if (!endpoint->isolated[EGRESS] && !endpoint->isolated[INGRESS])
		return PASS;
	// A pod reaches itself.
	if (packet->source.hi == packet->destination.hi && packet->source.lo == packet->destination.lo)
		return PASS;
	if (packet->is_later_fragment) {
		int allow = is_isolated == ENFORCED ? judge_fragment(packet, endpoint, direction) : FRAGMENTS_ALLOWED;
		if (allow & FRAGMENTS_DEFERRED && direction == EGRESS)
			mark(skb, endpoint, DEFERRED);
		return allow ? PASS : DROP;
	}
	__u64 decision = ALLOW;
	if (asks && !is_isolated)
		return PASS;
	if (is_isolated) {
		const struct address *peer = direction == EGRESS ? &packet->destination : &packet->source;
		decision = decide(all, endpoint->rows[direction], packet->family, peer, packet->protocol,
				  packet->destination_port);
		if (asks)
			return decision & ALLOW ? PASS : DROP;
		if (direction == EGRESS && decision & DEFER) {
			int deferred = defer(skb, packet, endpoint);
			mark(skb, endpoint, deferred);
			if (packet->is_first_fragment)
				remember_fragments(packet, endpoint, direction,
						   FRAGMENTS_ALLOWED | (deferred ? FRAGMENTS_DEFERRED : 0));
			return PASS;
		}
		// What a pod sends may come with the node's address in the place of its own.
		if (direction == INGRESS && sender && (decision & REASON) == NODE)
			decision = decide_for_sender(packet, endpoint, sender);
		count(all, decision & REASON, skb->len);
	}
	int allow = (decision & ALLOW) != 0;
	if (allow) {
		// TCP says itself which of its packets opens a connection, and which answers that; the others need
		// no record.
		if (packet->protocol != IPPROTO_TCP || packet->tcp_flags & SYN)
			remember(packet, endpoint, direction, 0);
		else if (endpoint->wanting)
			remember_late(packet, endpoint, direction, 0);
	} else {
		allow = is_answered_for(skb, packet, endpoint, direction);
		if (allow)
			decision |= ALLOW;
	}
	if (packet->is_first_fragment)
		remember_fragments(packet, endpoint, direction, allow ? FRAGMENTS_ALLOWED : 0);
	if (!allow || decision & (LOG | AUDIT))
		report(skb, packet, endpoint, decision, direction | BY_POLICY << 1);
	return allow ? PASS : DROP;
}

// Whether a packet passes of which nothing is to be kept or told: of TCP, within a connection that policies
// allow. These are most, and for them this does the same as `judge`, with all in registers. False where it is
// to be looked at as a whole.
static __always_inline int passes(struct __sk_buff *skb, void *all, struct endpoint *endpoint,
				  const int direction, const __u8 family, const struct address *own,
				  const struct address *peer, struct tcphdr *tcp)
{
	if (((__u8 *)tcp)[13] & SYN || endpoint->wanting)
		return 0;
	__u32 sender = direction == INGRESS ? skb->tc_index : 0;
	if (direction == INGRESS ? sender && is_unsettled(sender) :
				   !foreign_sources && !is_own(endpoint, family, own))
		return 0;
	if (endpoint->isolated[direction]) {
		__u64 decision =
			decide(all, endpoint->rows[direction], family, peer, IPPROTO_TCP, bpf_ntohs(tcp->dest));
		if (((__u32)decision & (ALLOW | LOG | AUDIT | DEFER)) != ALLOW)
			return 0;
		if (sender && (decision & REASON) == NODE)
			return 0;
		count(all, decision & REASON, skb->len);
	}
	if (direction == EGRESS)
		mark(skb, endpoint, 0);
	else if (sender)
		skb->tc_index = 0;
	return 1;
}

// Reads a plain IP header, behind one of Ethernet, and asks `passes`: each family has code of its own.
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
		return passes(skb, all, endpoint, direction, 4, &own, &peer, (void *)(ip + 1));
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
		return passes(skb, all, endpoint, direction, 6, &own, &peer, (void *)(ip + 1));
	}
	return 0;
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
	if (!asks && passes_at_once(skb, all, endpoint, direction))
		return PASS;
	struct packet packet;
	int read = read_packet(skb, &packet);
	if (read > 0)
		return PASS;
	if (read < 0) {
		// Where it is from, and where it goes, cannot be told.
		if (endpoint->isolated[direction] != ENFORCED && !(direction == INGRESS && skb->tc_index & DEFERRED))
			return PASS;
		trouble(UNREAD);
		report(skb, &packet, endpoint, 0, direction | UNREADABLE << 1);
		return DROP;
	}
	if (packet.passes && (direction == INGRESS || may_ask_neighbours(endpoint, &packet)))
		return PASS;
	if (direction == EGRESS && !asks && !foreign_sources && !may_send_from(endpoint, &packet)) {
		trouble(FOREIGN);
		report(skb, &packet, endpoint, 0, direction | FOREIGN_SOURCE << 1);
		return DROP;
	}
	return judge(skb, all, &packet, endpoint, direction, asks);
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

// At any other interface: what a pod sent to a service, and is answered elsewhere. What leaves carries
// nothing on, so that no other node takes it for its own.
static __always_inline int go(struct __sk_buff *skb, const int has_ethernet)
{
	__u32 sender = skb->tc_index;
	if (!sender)
		return PASS;
	skb->tc_index = 0;
	if (!(sender & DEFERRED))
		return PASS;
	struct packet packet;
	int read = has_ethernet ? read_packet(skb, &packet) : read_network(skb, &packet);
	if (read > 0)
		return PASS;
	if (read < 0) {
		trouble(UNREAD);
		return DROP;
	}
	return settle(skb, &packet, sender) ? PASS : DROP;
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

// Where a socket of the node's gets it.
SEC("cgroup_skb/ingress")
int arrive(struct __sk_buff *skb)
{
	__u32 sender = skb->tc_index;
	if (!(sender & DEFERRED))
		return 1;
	struct packet packet;
	if (read_network(skb, &packet) < 0) {
		trouble(UNREAD);
		return 0;
	}
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
