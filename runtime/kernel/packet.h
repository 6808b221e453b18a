// SPDX-License-Identifier: Apache-2.0
//
// Parses packets.

#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tables.h"

// A parsed packet.
struct packet {
	struct address source, destination;
	__u32 fragment_id;
	__u16 source_port, destination_port;
	__u8 family, protocol;
	__u8 tcp_flags; // TCP only
	__u8 is_first_fragment, is_later_fragment;
	__u8 fragment_protocol; // the protocol in the fragment header
	__u8 hop_limit; // IPv6 only
	__u8 passes; // neighbour discovery, or a multicast listener report that it needs
	__u8 icmp_type, is_error;
	__u32 offset; // of the transport header
};

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

static __always_inline struct address from_v4(__be32 address)
{
	return (struct address){ .hi = (__u64)bpf_ntohl(address) << 32, .lo = 0 };
}

static __always_inline struct address from_v6(const struct in6_addr *address)
{
	return (struct address){
		.hi = (__u64)bpf_ntohl(address->s6_addr32[0]) << 32 | bpf_ntohl(address->s6_addr32[1]),
		.lo = (__u64)bpf_ntohl(address->s6_addr32[2]) << 32 | bpf_ntohl(address->s6_addr32[3]),
	};
}

static __always_inline struct address from_halves(const __be64 *halves)
{
	return (struct address){ .hi = bpf_be64_to_cpu(halves[0]), .lo = bpf_be64_to_cpu(halves[1]) };
}

// Reads the ports, or the ICMP type, from the transport header. Returns 0, or a negative number on failure.
static __always_inline int read_transport(struct __sk_buff *skb, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 offset = packet->offset;
	if (offset > 256)
		return -1;
	if (packet->protocol == IPPROTO_TCP) {
		__u8 header[14];
		struct tcphdr *tcp = data + offset;
		if ((void *)(tcp + 1) <= end) {
			packet->source_port = bpf_ntohs(tcp->source);
			packet->destination_port = bpf_ntohs(tcp->dest);
			packet->tcp_flags = ((__u8 *)tcp)[13];
		} else {
			if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)) < 0)
				return -1;
			packet->source_port = header[0] << 8 | header[1];
			packet->destination_port = header[2] << 8 | header[3];
			packet->tcp_flags = header[13];
		}
	} else if (packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP) {
		__u8 header[8];
		struct udphdr *udp = data + offset;
		if ((void *)(udp + 1) <= end) {
			packet->source_port = bpf_ntohs(udp->source);
			packet->destination_port = bpf_ntohs(udp->dest);
		} else {
			if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)) < 0)
				return -1;
			packet->source_port = header[0] << 8 | header[1];
			packet->destination_port = header[2] << 8 | header[3];
		}
	} else if (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6) {
		__u8 header[8];
		if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)) < 0)
			return -1;
		packet->icmp_type = header[0];
		if (packet->family == 4 && packet->protocol == IPPROTO_ICMP) {
			packet->is_error = header[0] == 3 || header[0] == 11 || header[0] == 12;
			if (header[0] == 0 || header[0] == 8)
				packet->source_port = packet->destination_port = header[4] << 8 | header[5];
		} else if (packet->family == 6 && packet->protocol == IPPROTO_ICMPV6) {
			packet->is_error = header[0] >= 1 && header[0] <= 4;
			// Neighbour discovery that no router has forwarded, and the multicast listener reports that
			// it needs.
			packet->passes = (header[0] >= 133 && header[0] <= 137 && packet->hop_limit == 255) ||
					 (((header[0] >= 130 && header[0] <= 132) || header[0] == 143) &&
					  packet->hop_limit == 1 && packet->destination.hi >> 56 == 0xff);
			if (header[0] == 128 || header[0] == 129)
				packet->source_port = packet->destination_port = header[4] << 8 | header[5];
		}
	}
	return 0;
}

static __always_inline int read_v4(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + at;
	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return -1;
	packet->family = 4;
	packet->protocol = ip->protocol;
	packet->source = from_v4(ip->saddr);
	packet->destination = from_v4(ip->daddr);
	packet->offset = at + ip->ihl * 4;
	__u16 fragment = bpf_ntohs(ip->frag_off);
	if (fragment & 0x3fff) {
		packet->fragment_id = ip->id;
		packet->fragment_protocol = ip->protocol;
		packet->is_later_fragment = (fragment & 0x1fff) != 0;
		packet->is_first_fragment = !packet->is_later_fragment;
		// A fragment that begins within the TCP header would overwrite fields that were evaluated.
		if (packet->is_later_fragment && packet->protocol == IPPROTO_TCP && (fragment & 0x1fff) < 3)
			return -1;
	}
	return packet->is_later_fragment ? 0 : read_transport(skb, packet);
}

#define EXTENSIONS 8

static __always_inline int read_v6(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + at;
	if ((void *)(ip + 1) > end || ip->version != 6)
		return -1;
	packet->family = 6;
	packet->hop_limit = ip->hop_limit;
	packet->source = from_v6(&ip->saddr);
	packet->destination = from_v6(&ip->daddr);
	__u8 next = ip->nexthdr;
	__u32 offset = at + sizeof(*ip);
	for (int i = 0; i < EXTENSIONS; i++) {
		__u8 header[8];
		switch (next) {
		case 43: // routing: with segments left, the destination address is not the final one
			if (offset > 248 || bpf_skb_load_bytes(skb, offset, header, 4) < 0 || header[3])
				return -1;
			next = header[0];
			offset += (header[1] + 1) * 8;
			continue;
		case 0: // hop-by-hop options
		case 60: // destination options
		case 135: // mobility
		case 139: // host identity
		case 140: // shim6
			if (offset > 248 || bpf_skb_load_bytes(skb, offset, header, 2) < 0)
				return -1;
			next = header[0];
			offset += (header[1] + 1) * 8;
			continue;
		case 51: // authentication
			if (offset > 248 || bpf_skb_load_bytes(skb, offset, header, 2) < 0)
				return -1;
			next = header[0];
			offset += (header[1] + 2) * 4;
			continue;
		case 44: // fragment
			if (offset > 248 || bpf_skb_load_bytes(skb, offset, header, 8) < 0)
				return -1;
			next = header[0];
			offset += 8;
			packet->protocol = packet->fragment_protocol = next;
			__u16 fragment = header[2] << 8 | header[3];
			if (fragment & 0xfff9) {
				packet->fragment_id = header[4] << 24 | header[5] << 16 | header[6] << 8 | header[7];
				packet->is_later_fragment = (fragment & 0xfff8) != 0;
				packet->is_first_fragment = !packet->is_later_fragment;
				if (packet->is_later_fragment)
					return next == IPPROTO_TCP && (fragment >> 3) < 3 ? -1 : 0;
			}
			continue;
		}
		packet->protocol = next;
		packet->offset = offset;
		return read_transport(skb, packet);
	}
	return -1;
}

// Parses a packet with an Ethernet header. Returns 0, a positive number for ARP, or a negative one on failure.
//
// The functions that are not inlined are global: the verifier then checks each once instead of on every path that
// calls it, which takes a tenth of the time.
__noinline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return -1;
	__builtin_memset(packet, 0, sizeof(*packet));
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (data + sizeof(struct ethhdr) + sizeof(struct ipv6hdr) > end) {
		bpf_skb_pull_data(skb, skb->len < 96 ? skb->len : 96);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	struct ethhdr *ethernet = data;
	if ((void *)(ethernet + 1) > end)
		return -1;
	__be16 type = ethernet->h_proto;
	__u32 at = sizeof(*ethernet);
	for (int i = 0; i < 2; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		__be16 *tag = data + at;
		if ((void *)(tag + 2) > end)
			return -1;
		type = tag[1];
		at += 4;
	}
	if (type == bpf_htons(ETH_P_IP))
		return read_v4(skb, at, packet);
	if (type == bpf_htons(ETH_P_IPV6))
		return read_v6(skb, at, packet);
	packet->offset = at;
	return type == bpf_htons(ETH_P_ARP) ? 1 : -1;
}

// Parses a packet that begins with its IP header, as sockets receive it.
__noinline int read_network(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return -1;
	__builtin_memset(packet, 0, sizeof(*packet));
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read_v4(skb, 0, packet);
	return skb->protocol == bpf_htons(ETH_P_IPV6) ? read_v6(skb, 0, packet) : -1;
}
