// SPDX-License-Identifier: Apache-2.0
//
// Connection tracking: replies of an allowed connection pass, whatever the policies decide about them.

#pragma once

#include "policy.h"

// The time since `then`, in nanoseconds. It is 0 if another processor stored `then` after this one read its clock.
static __always_inline __u64 age(__u64 now, __u64 then)
{
	__s64 difference = now - then;
	return difference < 0 ? 0 : difference;
}

// Identifies the current state of the tables: the generation, and the number of changes since it was loaded.
static __always_inline __u64 stamp(void)
{
	void *all = all_tables();
	__u32 *changes = all ? at(all, layout.epoch) : 0;
	return (__u64)generation << 32 | (changes ? *changes : 0);
}

// How long a record lives after its last packet, in nanoseconds.
static __always_inline __u64 life(__u8 protocol, __u8 state)
{
	if (protocol == IPPROTO_TCP)
		// Longer than the two hours after which TCP keepalives are sent by default.
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

// Whether the connection of a record is still allowed in the direction in which it was opened.
static __always_inline int is_allowed(struct record *record, struct connection *key,
				      const struct endpoint *endpoint)
{
	__u64 now = stamp();
	if (record->stamp == now)
		return record->state != DENIED;
	// The destination is known only after translation. Until then the packets are evaluated where they are
	// delivered.
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

// How long replies pass if the translated destination is not yet known.
#define UNCONFIRMED (60 * SECOND)

// Whether a record has expired.
static __always_inline int is_over(const struct record *record, __u8 protocol, __u64 now)
{
	__u64 lives = life(protocol, record->state);
	if (record->deferred && !record->is_translated && lives > UNCONFIRMED)
		lives = UNCONFIRMED;
	return age(now, record->seen) > lives;
}

// How long an open connection keeps its slot after its last packet when its pod needs slots for new records.
#define IN_USE (120 * SECOND)

// Adds a record for a connection, in the next slot of its pod's share. The record in that slot is removed, unless
// its connection is in use: then the next slot is tried.
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

// Whether a packet may open a connection; for ICMP, whether it is a request.
static __always_inline int is_question(const struct packet *packet)
{
	__u8 type = packet->icmp_type;
	if (packet->protocol == IPPROTO_ICMP)
		return type == 8 || type == 13 || type == 15 || type == 17;
	return packet->protocol != IPPROTO_ICMPV6 || type == 128;
}

// Whether a packet may be a reply; for ICMP, whether it is a reply message.
static __always_inline int is_answer(const struct packet *packet)
{
	__u8 type = packet->icmp_type;
	if (packet->protocol == IPPROTO_ICMP)
		return type == 0 || type == 14 || type == 16 || type == 18;
	return packet->protocol != IPPROTO_ICMPV6 || type == 129;
}

// Whether a packet without a record belongs to a connection that was opened before this pod's enforcement began.
// For a short time after that, the policies for the opposite direction decide. Only for TCP, whose flags show that
// a packet does not open a connection.
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

// Whether a packet that no rule allows is a reply of an allowed connection.
__noinline int is_reply(struct packet *packet, struct endpoint *endpoint, int direction)
{
	if (!packet || !endpoint || !is_answer(packet))
		return 0;
	struct connection key;
	key_of(&key, packet, endpoint->id, direction);
	// A SYN without an ACK opens a connection, regardless of any record.
	if (key.protocol == IPPROTO_TCP && (packet->tcp_flags & (SYN | ACK)) == SYN)
		return 0;
	struct record *record = bpf_map_lookup_elem(&records, &key);
	__u64 now = bpf_ktime_get_boot_ns();
	if (!record || record->opener == direction || is_over(record, key.protocol, now)) {
		if (record && record->opener == direction)
			return 0;
		if (!record && is_of_before(packet, &key, endpoint, direction, now))
			return 1;
		// It may be a reply of a connection whose record was lost, or that is older than this program.
		if (key.protocol == IPPROTO_TCP && !(packet->tcp_flags & SYN))
			endpoint->wanting = now;
		return 0;
	}
	__u8 flags = key.protocol == IPPROTO_TCP ? packet->tcp_flags & (SYN | ACK | RST | FIN) : 0;
	if (key.protocol == IPPROTO_TCP && record->state == OPENING) {
		// Only a SYN-ACK or RST is a valid reply in this state. If the SYN-ACK passed without being
		// evaluated, the opener's ACK sets the state to OPEN (see `remember_late`).
		if ((flags & (SYN | ACK)) != (SYN | ACK) && !(flags & RST)) {
			endpoint->wanting = now;
			return 0;
		}
	}
	if (!is_allowed(record, &key, endpoint))
		return 0;
	// An RST does not prolong a record that is closing.
	if (record->state != CLOSING || !(flags & RST))
		record->seen = now;
	if (flags & (RST | FIN))
		record->state = CLOSING;
	else if (record->state == OPENING)
		record->state = OPEN;
	return 1;
}

// Adds or refreshes the record of a connection whose packet is allowed or deferred, so that its replies pass.
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
	// TCP and ICMP packets show whether they open a connection; for other protocols the first packet does.
	if ((key.protocol == IPPROTO_TCP && !opens) || !is_question(packet))
		return 0;
	// The peer may still have an older connection with the same ports, and answers the SYN with a challenge ACK
	// (RFC 5961). The state therefore stays OPEN.
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

// How long missing records are recreated after a reply without a record has arrived.
#define WANTING (60 * SECOND)

// Recreates the record of an allowed packet within a connection if it is missing because it was replaced, or
// because the connection is older than this program. The replies of the connection then pass again.
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
		// An ACK from the opener, which has therefore received the SYN-ACK.
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

// Whether an ICMP error belongs to an allowed connection, which it identifies by the packet that it quotes. A pod
// may send one only to the peer of a connection with a record, so that it cannot carry data to others.
__noinline int is_error_of(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
				  int direction)
{
	if (!packet || !endpoint)
		return 0;
	// The connection as seen from the pod. The quoted packet went in the opposite direction: its source is this
	// packet's destination, or its destination is this packet's source.
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
	// A TCP connection that policies allow in both directions does not refresh its record, so that it may have
	// expired. The pod must still receive errors about its own packets.
	if (direction == EGRESS || key.protocol != IPPROTO_TCP)
		return 0;
	return (decide_again(endpoint->rows[EGRESS], key.family, &key.remote, key.protocol, key.remote_port) &
		ALLOW) != 0;
}

// Whether a packet that no rule allows passes as a reply of an allowed connection, or as an ICMP error about one.
static __always_inline int is_answered_for(struct __sk_buff *skb, struct packet *packet, struct endpoint *endpoint,
					   int direction)
{
	return packet->is_error ? is_error_of(skb, packet, endpoint, direction) :
				  is_reply(packet, endpoint, direction);
}
