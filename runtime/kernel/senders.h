// SPDX-License-Identifier: Apache-2.0
//
// Which addresses a pod may use: as the source of packets, in ARP and neighbour discovery, and as the destination
// of packets that it receives.

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

// Whether the destination is a multicast address. For IPv4 this includes reserved addresses and the broadcast
// address.
static __always_inline int is_multicast(const struct packet *packet)
{
	return packet->family == 4 ? packet->destination.hi >> 60 >= 0xe : packet->destination.hi >> 56 == 0xff;
}

// Whether the pod may send from the source address: its own, or an IPv6 link-local address, which is not routed.
static __always_inline int may_send_from(const struct endpoint *endpoint, const struct packet *packet)
{
	return is_own(endpoint, packet->family, &packet->source) ||
	       (packet->family == 6 && is_link_local(&packet->source));
}

// Whether a packet may be delivered to a pod: to its own address, or by multicast or broadcast.
static __always_inline int is_for(struct __sk_buff *skb, const struct endpoint *endpoint, const struct packet *packet)
{
	if (is_own(endpoint, packet->family, &packet->destination) || is_multicast(packet) ||
	    (packet->family == 6 && is_link_local(&packet->destination)))
		return 1;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	// The broadcast of a subnet, which only the destination MAC address identifies as such.
	return data + ETH_ALEN <= end && *(__u8 *)data & 1;
}

// Whether a link-local address is derived from the MAC address of the pod's interface (EUI-64), so that a pod
// cannot claim the address of a router or another pod.
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

// Whether the pod may send this ARP packet: the sender address in it must be the pod's own, or zero.
__noinline int may_send_arp(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint)
{
	if (!packet || !endpoint)
		return 0;
	// Address types and lengths, operation, and the sender's addresses.
	__u8 arp[18];
	if (packet->offset > 64 || bpf_skb_load_bytes(skb, packet->offset, arp, sizeof(arp)) < 0)
		return 0;
	if (arp[2] != 8 || arp[3] != 0 || arp[4] != ETH_ALEN || arp[5] != 4)
		return 0;
	__u64 sender = (__u64)arp[14] << 56 | (__u64)arp[15] << 48 | (__u64)arp[16] << 40 | (__u64)arp[17] << 32;
	return !sender || sender == endpoint->v4;
}

// Whether the pod may send this message of neighbour discovery or multicast listener discovery, regardless of
// policies: a query or an answer about its own addresses, but no router advertisement or redirect.
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

// Whether a packet is encapsulated for a tunnel of the node, which would decapsulate the inner packet and deliver
// it as if another machine had sent it.
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
