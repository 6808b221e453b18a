// SPDX-License-Identifier: Apache-2.0
//
// Judges the packets of pods, on the host's side of each pod's interface: `from_pod` what a pod sends,
// `to_pod` what it is sent. A verdict is a few reads of arrays, which the resolver keeps; docs/node.md
// says how it all works together. One source for IPv4 and IPv6: an address is 128 bits, those of IPv4 in
// front of zeros.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Of linux/bpf.h, which may be older: the next program, or the packet passes.
#define PASS (-1)
#define DROP TC_ACT_SHOT

#define EGRESS 0
#define INGRESS 1

// The tags of a cell of the trie (see runtime/resolver/src/trie.rs).
#define TAG (3u << 30)
#define BRANCH (1u << 30)
#define COMPARE (2u << 30)
#define BYTE_SHIFT 26
#define NUMBER ((1u << BYTE_SHIFT) - 1)
#define ROOT 256

// A decision (see runtime/resolver/src/lists.rs).
#define ALLOW (1u << 31)
#define LOG (1u << 30)
#define AUDIT (1u << 29)
#define REASON (AUDIT - 1)

// The row lengths of the tables, and how many endpoints there is room for less one: set when the program
// is loaded, so that they are constants to the verifier.
volatile const __u32 classes = 1;
volatile const __u32 columns = 1;
volatile const __u32 endpoint_mask = 0;
volatile const __u32 generation = 0;

struct address {
	__u64 hi, lo;
};

struct branch {
	__u32 cells[256];
};

struct compare {
	struct address mask, prefix;
	__u32 yes, no;
};

struct ports {
	__u16 columns[32];
};

struct row_part {
	__u32 lists[256];
};

struct list_part {
	__u64 decisions[32];
};

// A pod on this node, and in which directions policies are for it: only some that decide nothing (AUDITED),
// or others too (ENFORCED).
#define AUDITED 1
#define ENFORCED 2

struct endpoint {
	__u32 ifindex;
	__u32 id;
	__u32 rows[2];
	__u32 isolated[2];
};

struct counter {
	__u64 packets, bytes;
};

// A connection, as its pod sees it.
struct connection {
	struct address remote, local;
	__u32 endpoint;
	__u16 remote_port, local_port;
	__u8 protocol, family;
	__u16 zero;
};

enum state { OPENING = 0, OPEN = 1, CLOSING = 2 };

struct record {
	__u64 seen; // nanoseconds since boot
	__u32 generation;
	__u8 opener; // EGRESS where the pod opened it
	__u8 state;
	__u16 zero;
};

// Fragments of one packet.
struct fragments {
	struct address source, destination;
	__u32 id;
	__u32 endpoint;
	__u8 protocol, direction;
	__u16 zero;
};

struct fragments_verdict {
	__u64 seen;
	__u32 generation;
	__u32 allow;
};

struct event {
	__u64 time;
	__u32 ifindex;
	__u32 endpoint;
	__u32 enforced, audited;
	__u32 generation;
	__u8 direction, protocol, family, cause;
	struct address source, destination;
	__u16 source_port, destination_port;
	__u32 length;
};

// Why a packet is dropped that no rule decides.
enum cause { BY_POLICY = 0, UNREADABLE = 1, FRAGMENT = 2 };


struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2 * ROOT);
	__type(key, __u32);
	__type(value, struct branch);
} branches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct compare);
} compares SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 3 * 65536 / 32);
	__type(key, __u32);
	__type(value, struct ports);
} port_columns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct row_part);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct list_part);
} lists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 18);
	__type(key, struct connection);
	__type(value, struct record);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 12);
	__type(key, struct fragments);
	__type(value, struct fragments_verdict);
} fragment_verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

// Packets that could not be read, that were fragments of unknown packets, and events that were lost.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} troubles SEC(".maps");

// What is read of a packet.
struct packet {
	struct address source, destination;
	__u32 fragment_id;
	__u16 source_port, destination_port;
	__u8 family, protocol;
	__u8 tcp_flags;
	__u8 has_ports;
	__u8 is_first_fragment, is_later_fragment;
	__u8 passes; // neighbour discovery, address resolution
	__u8 icmp_type, is_error;
	__u32 offset; // of what the protocol carries
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

// Reads the ports, or the type, of what an IP packet carries at `offset`. 0, or a negative number.
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
		packet->has_ports = 1;
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
		packet->has_ports = 1;
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
			// Neighbour discovery, and what it needs of multicast.
			packet->passes = (header[0] >= 130 && header[0] <= 137) || header[0] == 143;
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
		packet->is_later_fragment = (fragment & 0x1fff) != 0;
		packet->is_first_fragment = !packet->is_later_fragment;
		// One that begins within a TCP header would change what was judged.
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
	packet->source = from_v6(&ip->saddr);
	packet->destination = from_v6(&ip->daddr);
	__u8 next = ip->nexthdr;
	__u32 offset = at + sizeof(*ip);
	for (int i = 0; i < EXTENSIONS; i++) {
		__u8 header[8];
		switch (next) {
		case 0: // hop by hop
		case 43: // routing
		case 60: // destination
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
			packet->protocol = next;
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

// 0 where the packet was read, a positive number where it is not IP and passes, a negative one where it
// cannot be read.
//
// The functions that are not inlined are global: the verifier looks at each once, and not once for every
// way that leads to it, which takes it a tenth of the time.
__noinline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return -1;
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
	return type == bpf_htons(ETH_P_ARP) ? 1 : -1;
}

// The class of an address. Every step takes at least one byte more, so that sixteen are enough for any
// trie; a step more for each comparison.
static __always_inline __u32 class_of(__u8 family, const struct address *address)
{
	__u32 number = (family == 4 ? 0 : ROOT) + (address->hi >> 56);
	__u32 at = 1;
	__u32 cell = 0;
	struct branch *branch = bpf_map_lookup_elem(&branches, &number);
	if (!branch)
		return 0;
	cell = branch->cells[address->hi >> 48 & 255];
	for (int i = 0; i < 32; i++) {
		__u32 tag = cell & TAG;
		if (tag == 0)
			return cell;
		if (tag == BRANCH) {
			number = cell & NUMBER;
			at = cell >> BYTE_SHIFT & 15;
			branch = bpf_map_lookup_elem(&branches, &number);
			if (!branch)
				return 0;
			__u64 half = at < 8 ? address->hi : address->lo;
			cell = branch->cells[half >> (56 - (at & 7) * 8) & 255];
		} else {
			number = cell & ~TAG;
			struct compare *compare = bpf_map_lookup_elem(&compares, &number);
			if (!compare)
				return 0;
			cell = (address->hi & compare->mask.hi) == compare->prefix.hi &&
					       (address->lo & compare->mask.lo) == compare->prefix.lo ?
				       compare->yes :
				       compare->no;
		}
	}
	return 0;
}

static __always_inline __u32 column_of(__u8 protocol, __u16 port)
{
	__u32 index;
	switch (protocol) {
	case IPPROTO_TCP:
		index = 0;
		break;
	case IPPROTO_UDP:
		index = 65536 / 32;
		break;
	case IPPROTO_SCTP:
		index = 2 * (65536 / 32);
		break;
	default:
		return 0;
	}
	index += port >> 5;
	struct ports *ports = bpf_map_lookup_elem(&port_columns, &index);
	return ports ? ports->columns[port & 31] : 0;
}

// What the policies say of a peer, on a port.
static __always_inline __u64 decide(__u32 row, __u8 family, const struct address *peer, __u8 protocol,
				    __u16 port)
{
	__u32 cell = row * classes + class_of(family, peer);
	__u32 index = cell >> 8;
	struct row_part *part = bpf_map_lookup_elem(&rows, &index);
	if (!part)
		return 0;
	cell = part->lists[cell & 255] * columns + column_of(protocol, port);
	index = cell >> 5;
	struct list_part *list = bpf_map_lookup_elem(&lists, &index);
	return list ? list->decisions[cell & 31] : 0;
}

static __always_inline void count(__u32 reason, __u32 length)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &reason);
	if (counter) {
		counter->packets++;
		counter->bytes += length;
	}
}

static __always_inline void trouble(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&troubles, &which);
	if (counter)
		(*counter)++;
}

__noinline int report(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
			     __u64 decision, __u32 how)
{
	if (!packet || !endpoint)
		return 0;
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		trouble(2);
		return 0;
	}
	event->time = bpf_ktime_get_boot_ns();
	event->ifindex = skb->ifindex;
	event->endpoint = endpoint->id;
	event->enforced = decision;
	event->audited = decision >> 32;
	event->generation = generation;
	event->direction = how & 1;
	event->cause = how >> 1;
	event->protocol = packet->protocol;
	event->family = packet->family;
	event->source = packet->source;
	event->destination = packet->destination;
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	event->length = skb->len;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

#define SECOND 1000000000ull

// How long a record lives after its last packet.
static __always_inline __u64 life(__u8 protocol, __u8 state)
{
	if (protocol == IPPROTO_TCP)
		return state == OPEN ? 2 * 3600 * SECOND : state == OPENING ? 60 * SECOND : 10 * SECOND;
	return state == OPEN ? 180 * SECOND : 30 * SECOND;
}

static __always_inline void key_of(struct connection *key, const struct packet *packet, __u32 endpoint,
				   int direction)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->endpoint = endpoint;
	key->family = packet->family;
	key->protocol = packet->protocol;
	if (direction == EGRESS) {
		key->local = packet->source;
		key->remote = packet->destination;
		key->local_port = packet->source_port;
		key->remote_port = packet->destination_port;
	} else {
		key->local = packet->destination;
		key->remote = packet->source;
		key->local_port = packet->destination_port;
		key->remote_port = packet->source_port;
	}
}

// Whether a connection that a record is of is still allowed in the direction in which it was opened.
static __always_inline int is_allowed(struct record *record, const struct connection *key,
				      const struct endpoint *endpoint)
{
	if (record->generation == generation)
		return 1;
	int opener = record->opener & 1;
	__u16 port = opener == EGRESS ? key->remote_port : key->local_port;
	__u64 decision = decide(opener == EGRESS ? endpoint->rows[EGRESS] : endpoint->rows[INGRESS], key->family,
				&key->remote, key->protocol, port);
	if (!(decision & ALLOW))
		return 0;
	record->generation = generation;
	return 1;
}

// Whether a packet that no rule allows answers a connection that is allowed.
__noinline int is_reply(struct packet *packet, struct endpoint *endpoint, int direction)
{
	if (!packet || !endpoint)
		return 0;
	struct connection key;
	key_of(&key, packet, endpoint->id, direction);
	struct record *record = bpf_map_lookup_elem(&records, &key);
	if (!record || record->opener == direction)
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	if (now - record->seen > life(key.protocol, record->state))
		return 0;
	if (key.protocol == IPPROTO_TCP && record->state == OPENING) {
		__u8 flags = packet->tcp_flags & (SYN | ACK | RST);
		// Only an answer to what opened it.
		if (flags != (SYN | ACK) && !(flags & RST))
			return 0;
	}
	if (!is_allowed(record, &key, endpoint)) {
		bpf_map_delete_elem(&records, &key);
		return 0;
	}
	record->seen = now;
	if (key.protocol == IPPROTO_TCP && packet->tcp_flags & (RST | FIN))
		record->state = CLOSING;
	else if (record->state == OPENING)
		record->state = OPEN;
	return 1;
}

// Remembers a connection whose packet is allowed, so that what answers it passes.
__noinline int remember(struct packet *packet, struct endpoint *endpoint, int direction)
{
	if (!packet || !endpoint)
		return 0;
	struct connection key;
	key_of(&key, packet, endpoint->id, direction);
	__u64 now = bpf_ktime_get_boot_ns();
	struct record *known = bpf_map_lookup_elem(&records, &key);
	int opens = key.protocol == IPPROTO_TCP && (packet->tcp_flags & (SYN | ACK)) == SYN;
	if (known && !opens && now - known->seen <= life(key.protocol, known->state)) {
		known->seen = now;
		if (known->opener == direction)
			known->generation = generation;
		else if (known->state == OPENING)
			known->state = OPEN;
		return 0;
	}
	// TCP says what opens a connection; of others, the first packet does.
	if (key.protocol == IPPROTO_TCP && !opens)
		return 0;
	struct record record = { .seen = now, .generation = generation, .opener = direction, .state = OPENING };
	bpf_map_update_elem(&records, &key, &record, BPF_ANY);
	return 0;
}

// Whether an ICMP error is about a connection that is allowed: it carries the packet that it is about.
__noinline int is_error_of(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
				  int direction)
{
	if (!packet || !endpoint)
		return 0;
	struct packet about = {};
	__u32 at = packet->offset + 8;
	__u8 header[40];
	if (packet->family == 4) {
		if (bpf_skb_load_bytes(skb, at, header, 20) < 0 || header[0] >> 4 != 4)
			return 0;
		about.family = 4;
		about.protocol = header[9];
		__be32 address;
		__builtin_memcpy(&address, header + 12, 4);
		about.source = from_v4(address);
		__builtin_memcpy(&address, header + 16, 4);
		about.destination = from_v4(address);
		at += (header[0] & 15) * 4;
	} else {
		if (bpf_skb_load_bytes(skb, at, header, 40) < 0 || header[0] >> 4 != 6)
			return 0;
		about.family = 6;
		about.protocol = header[6];
		struct in6_addr address;
		__builtin_memcpy(&address, header + 8, 16);
		about.source = from_v6(&address);
		__builtin_memcpy(&address, header + 24, 16);
		about.destination = from_v6(&address);
		at += 40;
	}
	__u8 ports[8];
	if (bpf_skb_load_bytes(skb, at, ports, 8) < 0)
		return 0;
	switch (about.protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		about.source_port = ports[0] << 8 | ports[1];
		about.destination_port = ports[2] << 8 | ports[3];
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		about.source_port = about.destination_port = ports[4] << 8 | ports[5];
		break;
	}
	// The packet that it is about went the other way.
	struct connection key;
	key_of(&key, &about, endpoint->id, 1 - direction);
	struct record *record = bpf_map_lookup_elem(&records, &key);
	if (record && bpf_ktime_get_boot_ns() - record->seen <= life(key.protocol, record->state) &&
	    is_allowed(record, &key, endpoint))
		return 1;
	// A connection that policies allow by themselves has no record.
	__u32 row = direction == EGRESS ? endpoint->rows[INGRESS] : endpoint->rows[EGRESS];
	const struct address *remote = direction == EGRESS ? &about.source : &about.destination;
	return (decide(row, about.family, remote, about.protocol, about.destination_port) & ALLOW) != 0;
}

static __always_inline void fragments_of(struct fragments *key, const struct packet *packet, __u32 endpoint,
					 int direction)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->source = packet->source;
	key->destination = packet->destination;
	key->id = packet->fragment_id;
	key->endpoint = endpoint;
	key->protocol = packet->protocol;
	key->direction = direction;
}

// Passes, or drops, what belongs to a packet whose first fragment was judged.
__noinline int judge_fragment(struct packet *packet, struct endpoint *endpoint, int direction)
{
	if (!packet || !endpoint)
		return DROP;
	struct fragments key;
	fragments_of(&key, packet, endpoint->id, direction);
	struct fragments_verdict *verdict = bpf_map_lookup_elem(&fragment_verdicts, &key);
	// Reassembly waits half a minute.
	if (verdict && verdict->allow && verdict->generation == generation &&
	    bpf_ktime_get_boot_ns() - verdict->seen < 30 * SECOND)
		return PASS;
	trouble(1);
	return DROP;
}

__noinline int remember_fragments(struct packet *packet, struct endpoint *endpoint, int direction, int allow)
{
	if (!packet || !endpoint)
		return 0;
	struct fragments key;
	fragments_of(&key, packet, endpoint->id, direction);
	struct fragments_verdict verdict = { .seen = bpf_ktime_get_boot_ns(), .generation = generation, .allow = allow };
	bpf_map_update_elem(&fragment_verdicts, &key, &verdict, BPF_ANY);
	return 0;
}

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
	struct packet packet = {};
	int read = read_packet(skb, &packet);
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

// What `npc-node query` runs, never attached.
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
