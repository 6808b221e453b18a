// SPDX-License-Identifier: Apache-2.0
//
// Judges the packets of pods, on the host's side of each pod's interface: `from_pod` what a pod sends,
// `to_pod` what it is sent. A verdict is a few reads of arrays, which the resolver keeps. One source for
// IPv4 and IPv6: an address is 128 bits, those of IPv4 in front of zeros.

#include "fragments.h"

// With `asks`, only what the policies say: no record is looked for or made, and nothing is counted.
static __always_inline int judge(struct __sk_buff *skb, const int direction, const int asks)
{
	__u32 slot = skb->ifindex & endpoint_mask;
	struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &slot);
	if (!endpoint || endpoint->ifindex != skb->ifindex)
		return PASS;
	if (!endpoint->isolated[EGRESS] && !endpoint->isolated[INGRESS])
		return PASS;
	const __u32 is_isolated = endpoint->isolated[direction];
	struct packet packet;
	int read = read_plain(skb, &packet) ? 0 : read_packet(skb, &packet);
	if (read > 0 || packet.passes)
		return PASS;
	if (read < 0) {
		if (is_isolated != ENFORCED)
			return PASS;
		trouble(0);
		report(skb, &packet, endpoint, 0, direction | UNREADABLE << 1);
		return DROP;
	}
	// A pod reaches itself.
	if (packet.source.hi == packet.destination.hi && packet.source.lo == packet.destination.lo)
		return PASS;
	if (packet.is_later_fragment)
		return is_isolated == ENFORCED ? judge_fragment(&packet, endpoint, direction) : PASS;
	__u64 decision = ALLOW;
	if (asks && !is_isolated)
		return PASS;
	if (is_isolated) {
		const struct address *peer = direction == EGRESS ? &packet.destination : &packet.source;
		decision = decide(endpoint->rows[direction], packet.family, peer, packet.protocol,
				  packet.destination_port);
		if (asks)
			return decision & ALLOW ? PASS : DROP;
		count(decision & REASON, skb->len);
	}
	int allow = (decision & ALLOW) != 0;
	if (allow) {
		// TCP says itself which of its packets opens a connection; the others need no record.
		if (packet.protocol != IPPROTO_TCP || (packet.tcp_flags & (SYN | ACK)) == SYN)
			remember(&packet, endpoint, direction);
	} else {
		allow = packet.is_error ? is_error_of(skb, &packet, endpoint, direction) :
					  is_reply(&packet, endpoint, direction);
		if (allow)
			decision |= ALLOW;
	}
	if (packet.is_first_fragment)
		remember_fragments(&packet, endpoint, direction, allow);
	if (!allow || decision & (LOG | AUDIT))
		report(skb, &packet, endpoint, decision, direction | BY_POLICY << 1);
	return allow ? PASS : DROP;
}

SEC("classifier")
int from_pod(struct __sk_buff *skb)
{
	return judge(skb, EGRESS, 0);
}

SEC("classifier")
int to_pod(struct __sk_buff *skb)
{
	return judge(skb, INGRESS, 0);
}

// The generation in force: what is attached to interfaces goes on to the programs in here, so that one
// store changes what judges the packets of all of them.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} in_force SEC(".maps");

SEC("classifier")
int enter_from_pod(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force, EGRESS);
	return PASS;
}

SEC("classifier")
int enter_to_pod(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &in_force, INGRESS);
	return PASS;
}

// What the loader asks, never attached.
SEC("classifier")
int ask_from_pod(struct __sk_buff *skb)
{
	return judge(skb, EGRESS, 1);
}

SEC("classifier")
int ask_to_pod(struct __sk_buff *skb)
{
	return judge(skb, INGRESS, 1);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
