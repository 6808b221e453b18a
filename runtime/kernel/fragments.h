// SPDX-License-Identifier: Apache-2.0
//
// Fragments: the verdict on the first fragment applies to the others.

#pragma once

#include "connections.h"

static __always_inline void fragments_of(struct fragments *key, const struct packet *packet, __u32 endpoint,
					 int direction)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->source = packet->source;
	key->destination = packet->destination;
	key->id = packet->fragment_id;
	key->endpoint = endpoint;
	key->protocol = packet->fragment_protocol;
	key->direction = direction;
}

// The part of the first fragment's verdict that applies to the others.
#define FRAGMENTS_ALLOWED 1
#define FRAGMENTS_DEFERRED 2

// Returns the verdict on the first fragment: 0 if it was denied or has not been seen.
__noinline int judge_fragment(struct packet *packet, struct endpoint *endpoint, int direction)
{
	if (!packet || !endpoint)
		return 0;
	struct fragments key;
	fragments_of(&key, packet, endpoint->id, direction);
	struct fragments_verdict *verdict = bpf_map_lookup_elem(&fragment_verdicts, &key);
	// The kernel waits 30 seconds for missing fragments.
	if (verdict && verdict->allow && verdict->generation == generation &&
	    age(bpf_ktime_get_boot_ns(), verdict->seen) < 30 * SECOND)
		return verdict->allow;
	trouble(FRAGMENT);
	return 0;
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
