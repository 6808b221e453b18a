// SPDX-License-Identifier: Apache-2.0
//
// Which addresses a pod may use: as the source of what it sends, in what it says of itself to its neighbours,
// and as the destination of what it is sent.

#pragma once

#include "fragments.h"

// Whether an address is the pod's own.
static __always_inline int is_own(const struct endpoint *endpoint, __u8 family, const struct address *address)
{
	if (family == 4)
		return address->hi == endpoint->v4;
	return address->hi == endpoint->v6.hi && address->lo == endpoint->v6.lo;
}

static __always_inline int is_link_local(const struct address *address)
{
	return address->hi >> 54 == 0xfe80 >> 6;
}

// Whether a packet goes to many: of IPv4 also what is reserved, and the broadcast.
static __always_inline int is_multicast(const struct packet *packet)
{
	return packet->family == 4 ? packet->destination.hi >> 60 >= 0xe : packet->destination.hi >> 56 == 0xff;
}

// Whether a pod may send from an address: its own, or one that no router passes on.
static __always_inline int may_send_from(const struct endpoint *endpoint, const struct packet *packet)
{
	return is_own(endpoint, packet->family, &packet->source) ||
	       (packet->family == 6 && is_link_local(&packet->source));
}

// Whether a packet that is delivered to a pod is for it: to its own address, or to many.
static __always_inline int is_for(struct __sk_buff *skb, const struct endpoint *endpoint, const struct packet *packet)
{
	if (is_own(endpoint, packet->family, &packet->destination) || is_multicast(packet) ||
	    (packet->family == 6 && is_link_local(&packet->destination)))
		return 1;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	// The broadcast of a network, which has no address that tells it from others.
	return data + ETH_ALEN <= end && *(__u8 *)data & 1;
}

// Whether a pod may say that it has a link's address: the one that its interface makes of its MAC address, so
// that it is no router's and no other pod's.
static __always_inline int is_of_interface(struct __sk_buff *skb, const struct address *address)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN > end || !is_link_local(address))
		return 0;
	__u8 *mac = data + ETH_ALEN;
	__u64 id = (__u64)(mac[0] ^ 2) << 56 | (__u64)mac[1] << 48 | (__u64)mac[2] << 40 | 0xfffeull << 24 |
		   (__u64)mac[3] << 16 | (__u64)mac[4] << 8 | mac[5];
	return address->lo == id;
}

// Whether a pod may send this ARP packet: it says of itself only what is true, or nothing.
__noinline int may_send_arp(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint)
{
	if (!packet || !endpoint)
		return 0;
	// The kinds of addresses and their lengths, what it is, and the sender's addresses.
	__u8 arp[18];
	if (packet->offset > 64 || bpf_skb_load_bytes(skb, packet->offset, arp, sizeof(arp)) < 0)
		return 0;
	if (arp[2] != 8 || arp[3] != 0 || arp[4] != ETH_ALEN || arp[5] != 4)
		return 0;
	__u64 sender = (__u64)arp[14] << 56 | (__u64)arp[15] << 48 | (__u64)arp[16] << 40 | (__u64)arp[17] << 32;
	return !sender || sender == endpoint->v4;
}

// Whether a pod may send this message of neighbour discovery or of multicast listeners, whatever the policies
// say: a question or an answer about its own addresses. It is no router, and redirects nobody.
__noinline int may_ask_neighbours(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint)
{
	if (!packet || !endpoint)
		return 0;
	__u8 type = packet->icmp_type;
	if (type == 134 || type == 137)
		return 0;
	const struct address *source = &packet->source;
	if ((source->hi || source->lo) && !is_own(endpoint, 6, source) &&
	    !(type >= 133 && type <= 136 ? is_of_interface(skb, source) : is_link_local(source)))
		return 0;
	if (type != 136)
		return 1;
	__be64 halves[2];
	if (packet->offset > 256 || bpf_skb_load_bytes(skb, packet->offset + 8, halves, sizeof(halves)) < 0)
		return 0;
	struct address target = from_halves(halves);
	return is_own(endpoint, 6, &target) || is_of_interface(skb, &target);
}

// Whether a packet carries another one to a tunnel of the node, which would be taken out of it and delivered
// as if a machine had sent it.
__noinline int is_to_tunnel(struct packet *packet)
{
	if (!packet)
		return 0;
	switch (packet->protocol) {
	case IPPROTO_UDP: {
		__u32 zero = 0;
		struct tunnel_ports *ports = bpf_map_lookup_elem(&tunnels, &zero);
		if (packet->is_later_fragment || !ports)
			return 0;
		__u32 port = packet->destination_port;
		asm volatile("" : "+r"(port));
		port &= 0xffff;
		if (!(ports->bits[port >> 6] >> (port & 63) & 1))
			return 0;
		break;
	}
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
	case IPPROTO_GRE:
	case IPPROTO_L2TP:
	case IPPROTO_MPLS:
		break;
	default:
		return 0;
	}
	return is_multicast(packet) || bpf_map_lookup_elem(&node_addresses, &packet->destination) != 0;
}
