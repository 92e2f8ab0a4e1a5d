// SPDX-License-Identifier: Apache-2.0
// Gives back the memory of flows that timed out. The kernel treats them as absent already; this is only housekeeping, so it
// works in slices and never removes an entry that came back to life in between.
#include <bpf/bpf.h>
#include <tandem/types.h>
#include <unistd.h>

#include <cstring>

#include "bpf/kernel.h"
#include "bpf/timeouts.h"

namespace tandem {
namespace {

bool is_idle(const ct_entry& entry, uint8_t protocol, const Timeouts& timeouts) {
  return is_past(entry.last_used, entry.flags & CT_SERVICE ? timeouts.service : flow_timeout(entry.flags, protocol, timeouts));
}

}  // namespace

std::pair<uint64_t, uint64_t> sweep_conntrack(const Map& map, const Timeouts& timeouts) {
  const bool v6 = map.key_size == sizeof(ct6_key);
  if ((!v6 && map.key_size != sizeof(ct4_key)) || map.value_size != sizeof(ct_entry))
    throw Failure(EINVAL, "sweep", map.name, "not a conntrack map");
  const size_t protocol_at = v6 ? offsetof(ct6_key, protocol) : offsetof(ct4_key, protocol);
  uint64_t seen = 0, deleted = 0;
  walk_map(map, [&](const uint8_t* keys, const uint8_t* values, size_t count) {
    for (size_t i = 0; i < count; i++) {
      const uint8_t* key = keys + i * map.key_size;
      ct_entry entry;
      memcpy(&entry, values + i * sizeof(entry), sizeof(entry));
      if (!is_idle(entry, key[protocol_at], timeouts)) continue;
      // the slice may be old by now
      if (bpf_map_lookup_elem(map.fd.get(), key, &entry) || !is_idle(entry, key[protocol_at], timeouts)) continue;
      if (bpf_map_delete_elem(map.fd.get(), key) == 0) deleted++;
    }
    seen += count;
    usleep(500);  // packets and others first
  });
  return {seen, deleted};
}

}  // namespace tandem
