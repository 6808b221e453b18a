// SPDX-License-Identifier: Apache-2.0
//
// Connections: what answers one that is allowed passes, whatever the policies say of it.

#pragma once

#include "policy.h"

// How long ago something was, in nanoseconds. Another processor may have seen a packet after this one read its
// clock: then it was just now.
static __always_inline __u64 age(__u64 now, __u64 then)
{
	__s64 difference = now - then;
	return difference < 0 ? 0 : difference;
}

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
	return age(now, record->seen) > lives;
}

// For how long a connection that is open keeps its place after its last packet, where its pod makes more records.
#define IN_USE (120 * SECOND)

// Keeps a record of a connection that has none, in the next place of its pod's share. The record that has the
// place ends, unless its connection is in use: then it keeps the place, and the next one is taken.
__noinline int add_record(struct connection *key, struct record *record)
{
	if (!key || !record)
		return 0;
	if (bpf_map_update_elem(&records, key, record, BPF_EXIST) == 0)
		return 0;
	__u32 endpoint = key->endpoint;
	__u32 *next = bpf_map_lookup_elem(&next_places, &endpoint);
	if (!next) {
		__u32 zero = 0;
		bpf_map_update_elem(&next_places, &endpoint, &zero, BPF_NOEXIST);
		next = bpf_map_lookup_elem(&next_places, &endpoint);
		if (!next)
			return 0;
	}
	const __u64 now = bpf_ktime_get_boot_ns();
	struct place place = { .endpoint = endpoint };
	for (int i = 0; i < 8; i++) {
		place.number = __sync_fetch_and_add(next, 1) & (SHARE - 1);
		struct connection *other = bpf_map_lookup_elem(&shares, &place);
		if (!other)
			break;
		struct record *known = bpf_map_lookup_elem(&records, other);
		if (!known)
			break;
		if (i < 7 && known->state == OPEN && age(now, known->seen) < IN_USE)
			continue;
		bpf_map_delete_elem(&records, other);
		break;
	}
	bpf_map_update_elem(&shares, &place, key, BPF_ANY);
	bpf_map_update_elem(&records, key, record, BPF_ANY);
	return 0;
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

// Whether a packet without a record belongs to a connection that is older than the enforcement of this pod:
// for a short while after that began, the policies for the direction in which it was opened decide. Of TCP
// only, whose packets say that they open nothing.
static __always_inline int is_of_before(struct packet *packet, struct connection *key, struct endpoint *endpoint,
					int direction, __u64 now)
{
	if (endpoint->taken_over <= now || key->protocol != IPPROTO_TCP || packet->tcp_flags & (SYN | RST))
		return 0;
	const __u8 opener = direction == EGRESS ? INGRESS : EGRESS;
	__u64 decision = decide_again(opener == EGRESS ? endpoint->rows[EGRESS] : endpoint->rows[INGRESS], key->family,
				      &key->remote, key->protocol,
				      opener == EGRESS ? key->remote_port : key->local_port);
	if (!(decision & ALLOW))
		return 0;
	struct record record = { .seen = now, .stamp = stamp(), .opener = opener, .state = OPEN };
	add_record(key, &record);
	return 1;
}

// Whether a packet that no rule allows answers a connection that is allowed.
__noinline int is_reply(struct packet *packet, struct endpoint *endpoint, int direction)
{
	if (!packet || !endpoint || !is_answer(packet))
		return 0;
	struct connection key;
	key_of(&key, packet, endpoint->id, direction);
	// A SYN without an ACK opens a connection, whatever went before it.
	if (key.protocol == IPPROTO_TCP && (packet->tcp_flags & (SYN | ACK)) == SYN)
		return 0;
	struct record *record = bpf_map_lookup_elem(&records, &key);
	__u64 now = bpf_ktime_get_boot_ns();
	if (!record || record->opener == direction || is_over(record, key.protocol, now)) {
		if (record && record->opener == direction)
			return 0;
		if (!record && is_of_before(packet, &key, endpoint, direction, now))
			return 1;
		// It may answer a connection whose record was lost, or that is older than this program.
		if (key.protocol == IPPROTO_TCP && !(packet->tcp_flags & SYN))
			endpoint->wanting = now;
		return 0;
	}
	__u8 flags = key.protocol == IPPROTO_TCP ? packet->tcp_flags & (SYN | ACK | RST | FIN) : 0;
	if (key.protocol == IPPROTO_TCP && record->state == OPENING) {
		// Only an answer to what opened it. The answer may have gone another way than this, where its
		// direction was not judged: then the side that opened it shows that it is open.
		if ((flags & (SYN | ACK)) != (SYN | ACK) && !(flags & RST)) {
			endpoint->wanting = now;
			return 0;
		}
	}
	if (!is_allowed(record, &key, endpoint))
		return 0;
	// Resets do not keep a record that is about to end.
	if (record->state != CLOSING || !(flags & RST))
		record->seen = now;
	if (flags & (RST | FIN))
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
	if (known && !opens && age(now, known->seen) <= life(key.protocol, known->state)) {
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
	// The other side may still have the connection that had the same ports before, and answers with an ACK
	// alone (RFC 5961).
	__u8 state = known && opens && known->opener == direction && known->state == OPEN &&
				     !is_over(known, key.protocol, now) ?
			     OPEN :
			     OPENING;
	struct record record = {
		.seen = now, .stamp = stamp(), .opener = direction, .state = state, .deferred = deferred,
	};
	add_record(&key, &record);
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
	if (age(now, endpoint->wanting) > WANTING) {
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
	add_record(&key, &record);
	return 0;
}

// Whether an ICMP error is about a connection that is allowed: it carries the packet that it is about. A pod
// may send one only to the peer of a connection that there is a record of, so that it carries nothing to
// anybody else.
__noinline int is_error_of(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
				  int direction)
{
	if (!packet || !endpoint)
		return 0;
	// The connection, as the pod sees it. The packet that the error is about went the other way: from where
	// this one goes, or to where it comes from.
	struct connection key = { .endpoint = endpoint->id, .family = packet->family };
	struct address *source = direction == EGRESS ? &key.remote : &key.local;
	struct address *destination = direction == EGRESS ? &key.local : &key.remote;
	__u32 at = packet->offset + 8;
	__u8 header[40];
	if (packet->family == 4) {
		if (bpf_skb_load_bytes(skb, at, header, 20) < 0 || header[0] >> 4 != 4)
			return 0;
		key.protocol = header[9];
		__be32 address;
		__builtin_memcpy(&address, header + 12, 4);
		*source = from_v4(address);
		__builtin_memcpy(&address, header + 16, 4);
		*destination = from_v4(address);
		at += (header[0] & 15) * 4;
	} else {
		if (bpf_skb_load_bytes(skb, at, header, 40) < 0 || header[0] >> 4 != 6)
			return 0;
		key.protocol = header[6];
		__be64 halves[4];
		__builtin_memcpy(halves, header + 8, sizeof(halves));
		*source = from_halves(halves);
		*destination = from_halves(halves + 2);
		at += 40;
	}
	if (bpf_skb_load_bytes(skb, at, header, 8) < 0)
		return 0;
	__u16 source_port = 0, destination_port = 0;
	switch (key.protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		source_port = header[0] << 8 | header[1];
		destination_port = header[2] << 8 | header[3];
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		source_port = destination_port = header[4] << 8 | header[5];
		break;
	}
	key.local_port = direction == EGRESS ? destination_port : source_port;
	key.remote_port = direction == EGRESS ? source_port : destination_port;
	const struct address *own = direction == EGRESS ? &packet->source : &packet->destination;
	if (key.local.hi != own->hi || key.local.lo != own->lo)
		return 0;
	if (direction == EGRESS &&
	    (key.remote.hi != packet->destination.hi || key.remote.lo != packet->destination.lo))
		return 0;
	struct record *record = bpf_map_lookup_elem(&records, &key);
	if (record && !is_over(record, key.protocol, bpf_ktime_get_boot_ns()))
		return is_allowed(record, &key, endpoint);
	// The record of a connection that policies allow in both directions ends while the connection is idle:
	// the pod is still told what became of its packets.
	if (direction == EGRESS || key.protocol != IPPROTO_TCP)
		return 0;
	return (decide_again(endpoint->rows[EGRESS], key.family, &key.remote, key.protocol, key.remote_port) &
		ALLOW) != 0;
}

// Whether a packet that no rule allows passes for what went before it.
static __always_inline int is_answered_for(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
					   int direction)
{
	return packet->is_error ? is_error_of(skb, packet, endpoint, direction) :
				  is_reply(packet, endpoint, direction);
}
