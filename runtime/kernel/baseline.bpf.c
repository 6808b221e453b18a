// SPDX-License-Identifier: Apache-2.0
//
// Programs that the benchmarks compare with: an empty one, and the usual work of a policy agent for a packet, which
// is a lookup of the connection in a hash map and of the address in the kernel's LPM trie.

#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 18);
	__type(key, struct connection);
	__type(value, struct record);
} tracked SEC(".maps");

struct prefix4 {
	__u32 length;
	__be32 address;
};

struct prefix6 {
	__u32 length;
	struct in6_addr address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 21);
	__type(key, struct prefix4);
	__type(value, __u32);
} prefixes4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 21);
	__type(key, struct prefix6);
	__type(value, __u32);
} prefixes6 SEC(".maps");

// The fields that the programs look up.
struct plain {
	struct address source, destination;
	__be32 source_v4;
	__u16 source_port, destination_port;
	__u8 family, protocol;
};

// Parses a TCP packet with a plain IP header, all in registers, like the fast path of npc.bpf.c.
static __always_inline int read_plain(struct __sk_buff *skb, struct plain *plain)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tcphdr *tcp;
	if (data + ETH_HLEN + sizeof(struct iphdr) + sizeof(*tcp) > end)
		return 0;
	__be16 protocol = *(__be16 *)(data + 2 * ETH_ALEN);
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;
		if (*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(0x3fff))
			return 0;
		plain->family = 4;
		plain->protocol = ip->protocol;
		plain->source_v4 = ip->saddr;
		plain->source = from_v4(ip->saddr);
		plain->destination = from_v4(ip->daddr);
		tcp = (void *)(ip + 1);
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		if (data + ETH_HLEN + sizeof(*ip) + sizeof(*tcp) > end || ip->version != 6)
			return 0;
		plain->family = 6;
		plain->protocol = ip->nexthdr;
		plain->source = from_halves((void *)&ip->saddr);
		plain->destination = from_halves((void *)&ip->daddr);
		tcp = (void *)(ip + 1);
	} else {
		return 0;
	}
	plain->source_port = bpf_ntohs(tcp->source);
	plain->destination_port = bpf_ntohs(tcp->dest);
	return plain->protocol == IPPROTO_TCP;
}

// Returns the record of the packet's connection, or null if there is none.
static __always_inline struct record *tracked_of(const struct plain *plain)
{
	struct connection key = {};
	key.remote = plain->source;
	key.local = plain->destination;
	key.remote_port = plain->source_port;
	key.local_port = plain->destination_port;
	key.protocol = plain->protocol;
	key.family = plain->family;
	return bpf_map_lookup_elem(&tracked, &key);
}

static __always_inline __u32 *prefix_of(const struct plain *plain)
{
	if (plain->family == 4) {
		struct prefix4 prefix = { .length = 32, .address = plain->source_v4 };
		return bpf_map_lookup_elem(&prefixes4, &prefix);
	}
	struct prefix6 prefix = { .length = 128 };
	__u64 hi = bpf_cpu_to_be64(plain->source.hi), lo = bpf_cpu_to_be64(plain->source.lo);
	__builtin_memcpy(&prefix.address, &hi, 8);
	__builtin_memcpy((char *)&prefix.address + 8, &lo, 8);
	return bpf_map_lookup_elem(&prefixes6, &prefix);
}

SEC("classifier")
int empty(struct __sk_buff *skb)
{
	return PASS;
}

// Accepts every packet finally (TCX_PASS), so that later programs do not run.
SEC("classifier")
int accept(struct __sk_buff *skb)
{
	return 0;
}

SEC("classifier")
int read_only(struct __sk_buff *skb)
{
	struct plain plain = {};
	if (!read_plain(skb, &plain))
		return DROP;
	// Keeps the compiler from removing the parsing.
	asm volatile("" : : "r"(&plain) : "memory");
	return PASS;
}

// Drops a packet if a lookup fails, so that a benchmark notices missing entries.
static __always_inline int look_up(struct __sk_buff *skb, const int connection, const int prefix)
{
	struct plain plain = {};
	if (!read_plain(skb, &plain))
		return DROP;
	if (connection) {
		struct record *record = tracked_of(&plain);
		if (!record)
			return DROP;
		record->seen++;
	}
	if (prefix) {
		__u32 *value = prefix_of(&plain);
		if (!value || !*value)
			return DROP;
	}
	return PASS;
}

SEC("classifier")
int connection_only(struct __sk_buff *skb)
{
	return look_up(skb, 1, 0);
}

SEC("classifier")
int prefix_only(struct __sk_buff *skb)
{
	return look_up(skb, 0, 1);
}

SEC("classifier")
int agent(struct __sk_buff *skb)
{
	return look_up(skb, 1, 1);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
