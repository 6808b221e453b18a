// SPDX-License-Identifier: Apache-2.0
//
// Connections: what answers one that is allowed passes, whatever the policies say of it.

#pragma once

#include "policy.h"

// Of which tables a record is: the generation, and how often it had changed.
static __always_inline __u64 stamp(void)
{
	void *all = all_tables();
	__u32 *changes = all ? at(all, layout.epoch) : 0;
	return (__u64)generation << 32 | (changes ? *changes : 0);
}

// How long a record lives after its last packet.
static __always_inline __u64 life(__u8 protocol, __u8 state)
{
	if (protocol == IPPROTO_TCP)
		// Longer than the two hours after which idle connections are kept alive.
		return state == OPEN || state == DENIED ? 3 * 3600 * SECOND : state == OPENING ? 60 * SECOND : 10 * SECOND;
	return state == OPENING ? 30 * SECOND : 180 * SECOND;
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
static __always_inline int is_allowed(struct record *record, struct connection *key,
				      const struct endpoint *endpoint)
{
	__u64 now = stamp();
	if (record->stamp == now)
		return record->state != DENIED;
	// Where it goes to is known only after translation: until it is known, its packets are judged there.
	if (record->deferred && !record->is_translated)
		return record->state != DENIED;
	struct address remote = record->deferred ? record->to : key->remote;
	int opener = record->opener & 1;
	__u16 port = record->deferred ? record->to_port : opener == EGRESS ? key->remote_port : key->local_port;
	__u64 decision = decide_again(opener == EGRESS ? endpoint->rows[EGRESS] : endpoint->rows[INGRESS], key->family,
				&remote, key->protocol, port);
	record->stamp = now;
	if (!(decision & ALLOW)) {
		record->state = DENIED;
		return 0;
	}
	if (record->state == DENIED)
		record->state = OPEN;
	return 1;
}

// How long an answer is let through to what is translated to nobody knows what.
#define UNCONFIRMED (60 * SECOND)

// Whether a record lives no more.
static __always_inline int is_over(const struct record *record, __u8 protocol, __u64 now)
{
	__u64 lives = life(protocol, record->state);
	if (record->deferred && !record->is_translated && lives > UNCONFIRMED)
		lives = UNCONFIRMED;
	return now - record->seen > lives;
}

// Whether an ICMP message asks for an answer.
static __always_inline int is_question(const struct packet *packet)
{
	__u8 type = packet->icmp_type;
	if (packet->protocol == IPPROTO_ICMP)
		return type == 8 || type == 13 || type == 15 || type == 17;
	return packet->protocol != IPPROTO_ICMPV6 || type == 128;
}

// Whether it is such an answer.
static __always_inline int is_answer(const struct packet *packet)
{
	__u8 type = packet->icmp_type;
	if (packet->protocol == IPPROTO_ICMP)
		return type == 0 || type == 14 || type == 16 || type == 18;
	return packet->protocol != IPPROTO_ICMPV6 || type == 129;
}

// Whether a packet that no rule allows answers a connection that is allowed.
__noinline int is_reply(struct packet *packet, struct endpoint *endpoint, int direction)
{
	if (!packet || !endpoint || !is_answer(packet))
		return 0;
	struct connection key;
	key_of(&key, packet, endpoint->id, direction);
	struct record *record = bpf_map_lookup_elem(&records, &key);
	__u64 now = bpf_ktime_get_boot_ns();
	if (!record || record->opener == direction || is_over(record, key.protocol, now)) {
		// It may answer a connection whose record was lost, or that is older than this program.
		if ((!record || record->opener != direction) && key.protocol == IPPROTO_TCP &&
		    !(packet->tcp_flags & SYN))
			endpoint->wanting = now;
		return 0;
	}
	if (key.protocol == IPPROTO_TCP && record->state == OPENING) {
		__u8 flags = packet->tcp_flags & (SYN | ACK | RST);
		// Only an answer to what opened it. The answer may have gone another way than this, where its
		// direction was not judged: then the side that opened it shows that it is open.
		if (flags != (SYN | ACK) && !(flags & RST)) {
			endpoint->wanting = now;
			return 0;
		}
	}
	if (!is_allowed(record, &key, endpoint))
		return 0;
	record->seen = now;
	if (key.protocol == IPPROTO_TCP && packet->tcp_flags & (RST | FIN))
		record->state = CLOSING;
	else if (record->state == OPENING)
		record->state = OPEN;
	return 1;
}

// Remembers a connection whose packet is allowed, or goes to be translated, so that what answers it passes.
__noinline int remember(struct packet *packet, struct endpoint *endpoint, int direction, int deferred)
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
		if (known->opener == direction) {
			if (!deferred) {
				known->stamp = stamp();
				if (known->state == DENIED)
					known->state = OPEN;
			}
		} else if (known->state == OPENING) {
			known->state = OPEN;
		}
		return 0;
	}
	// TCP and ICMP say what opens a connection; of others, the first packet does.
	if ((key.protocol == IPPROTO_TCP && !opens) || !is_question(packet))
		return 0;
	struct record record = {
		.seen = now, .stamp = stamp(), .opener = direction, .state = OPENING, .deferred = deferred,
	};
	bpf_map_update_elem(&records, &key, &record, BPF_ANY);
	return 0;
}

// How long records are looked for after something came back that has none.
#define WANTING (60 * SECOND)

// A packet within a connection is allowed, of which there may be no record though there ought to be one: it
// was pushed out, or is older than this program. What answers it is let through again.
__noinline int remember_late(struct packet *packet, struct endpoint *endpoint, int direction, int deferred)
{
	if (!packet || !endpoint)
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	if (now - endpoint->wanting > WANTING) {
		endpoint->wanting = 0;
		return 0;
	}
	struct connection key;
	key_of(&key, packet, endpoint->id, direction);
	if (packet->tcp_flags & (SYN | RST | FIN))
		return 0;
	struct record *known = bpf_map_lookup_elem(&records, &key);
	if (known && !is_over(known, key.protocol, now)) {
		// An ACK of the side that opened it, which has seen the answer.
		if (known->opener == direction && known->state == OPENING && packet->tcp_flags & ACK)
			known->state = OPEN;
		return 0;
	}
	struct record record = {
		.seen = now, .stamp = stamp(), .opener = direction, .state = OPEN, .deferred = deferred,
	};
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
	// The packet that it is about went the other way: from where this one goes, or to where it comes from.
	const struct address *own = direction == EGRESS ? &about.destination : &about.source;
	const struct address *outer = direction == EGRESS ? &packet->source : &packet->destination;
	if (own->hi != outer->hi || own->lo != outer->lo)
		return 0;
	struct connection key;
	key_of(&key, &about, endpoint->id, 1 - direction);
	struct record *record = bpf_map_lookup_elem(&records, &key);
	if (record && !is_over(record, key.protocol, bpf_ktime_get_boot_ns()) &&
	    is_allowed(record, &key, endpoint))
		return 1;
	// A connection that policies allow by themselves has no record.
	__u32 row = direction == EGRESS ? endpoint->rows[INGRESS] : endpoint->rows[EGRESS];
	struct address *remote = direction == EGRESS ? &about.source : &about.destination;
	return (decide_again(row, about.family, remote, about.protocol, about.destination_port) & ALLOW) != 0;
}

// Whether a packet that no rule allows passes for what went before it.
static __always_inline int is_answered_for(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
					   int direction)
{
	return packet->is_error ? is_error_of(skb, packet, endpoint, direction) :
				  is_reply(packet, endpoint, direction);
}
