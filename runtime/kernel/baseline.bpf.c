// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks compare with: no work at all, and what policy agents of today do for a packet, a
// connection looked up in a hash and an address in the kernel's own trie of prefixes.

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

SEC("classifier")
int empty(struct __sk_buff *skb)
{
	return PASS;
}

// Only reads the packet, as the program that enforces does.
SEC("classifier")
int read_only(struct __sk_buff *skb)
{
	struct packet packet = {};
	return read_packet(skb, &packet) < 0 ? DROP : PASS;
}

// The connection that a packet belongs to, and null where it is not known.
static __always_inline struct record *tracked_of(struct packet *packet)
{
	struct connection key = {};
	key.remote = packet->source;
	key.local = packet->destination;
	key.remote_port = packet->source_port;
	key.local_port = packet->destination_port;
	key.protocol = packet->protocol;
	key.family = packet->family;
	return bpf_map_lookup_elem(&tracked, &key);
}

static __always_inline __u32 *prefix_of(struct packet *packet)
{
	__u64 hi = bpf_cpu_to_be64(packet->source.hi), lo = bpf_cpu_to_be64(packet->source.lo);
	if (packet->family == 4) {
		struct prefix4 prefix = { .length = 32, .address = (__be32)hi };
		return bpf_map_lookup_elem(&prefixes4, &prefix);
	}
	struct prefix6 prefix = { .length = 128 };
	__builtin_memcpy(&prefix.address, &hi, 8);
	__builtin_memcpy((char *)&prefix.address + 8, &lo, 8);
	return bpf_map_lookup_elem(&prefixes6, &prefix);
}

SEC("classifier")
int connection_only(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (read_packet(skb, &packet) < 0)
		return DROP;
	struct record *record = tracked_of(&packet);
	if (!record)
		return DROP;
	record->seen++;
	return PASS;
}

SEC("classifier")
int prefix_only(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (read_packet(skb, &packet) < 0)
		return DROP;
	__u32 *value = prefix_of(&packet);
	return value && *value ? PASS : DROP;
}

// What is not found is dropped, so that a benchmark sees whether both lookups were of what is there.
SEC("classifier")
int agent(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (read_packet(skb, &packet) < 0)
		return DROP;
	struct record *record = tracked_of(&packet);
	if (!record)
		return DROP;
	record->seen++;
	__u32 *value = prefix_of(&packet);
	return value && *value ? PASS : DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
