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

struct prefix {
	__u32 length;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 21);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

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

SEC("classifier")
int agent(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (read_packet(skb, &packet) < 0)
		return DROP;
	struct connection key = {};
	key.remote = packet.source;
	key.local = packet.destination;
	key.remote_port = packet.source_port;
	key.local_port = packet.destination_port;
	key.protocol = packet.protocol;
	struct record *record = bpf_map_lookup_elem(&tracked, &key);
	if (record)
		record->seen++;
	struct prefix prefix = { .length = packet.family == 4 ? 32 : 128 };
	__u64 hi = bpf_cpu_to_be64(packet.source.hi), lo = bpf_cpu_to_be64(packet.source.lo);
	__builtin_memcpy(prefix.address, &hi, 8);
	__builtin_memcpy(prefix.address + 8, &lo, 8);
	__u32 *value = bpf_map_lookup_elem(&prefixes, &prefix);
	return value && *value ? PASS : DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
