// SPDX-License-Identifier: Apache-2.0
// Gives back the ports of flows that timed out. An entry of an initiator goes by its state and takes along that of the answers, which holds the
// port; an entry of answers without an initiator's, as a program leaves it that ended between the two, goes when it is a minute old.
//
// The initiator's goes first: while the other is there nobody else gets the port, and an initiator that comes back meanwhile gets
// another one.
#include <bpf/bpf.h>
#include <tandem/types.h>
#include <unistd.h>

#include <cstring>

#include "bpf/kernel.h"
#include "bpf/timeouts.h"

namespace tandem {
namespace {

constexpr uint32_t orphan_seconds = 60;

// Of two structures that begin alike: source, destination, source port, destination port.
template <typename To, typename From>
To swapped(const From& from) {
  To to{};
  to.source = from.destination;
  to.destination = from.source;
  to.source_port = from.destination_port;
  to.destination_port = from.source_port;
  return to;
}

template <typename Key, typename Entry>
class Sweep {
 public:
  Sweep(const Map& map, const Timeouts& timeouts) : map_(map), timeouts_(timeouts) {}

  // A flow counts as two entries with its initiator's: the other one may have been passed already when it goes.
  std::pair<uint64_t, uint64_t> run() {
    walk_map(map_, [&](const uint8_t* keys, const uint8_t* values, size_t count) {
      for (size_t i = 0; i < count; i++) {
        Key key;
        Entry entry;
        memcpy(&key, keys + i * sizeof(key), sizeof(key));
        memcpy(&entry, values + i * sizeof(entry), sizeof(entry));
        if (entry.flags & NAT_BACK)
          visit_answers(key, entry);
        else
          visit_initiator(key, entry);
      }
      usleep(500);  // packets and others first
    });
    return {kept_ + deleted_, deleted_};
  }

 private:
  bool find(const Key& key, Entry& entry) const { return bpf_map_lookup_elem(map_.fd.get(), &key, &entry) == 0; }

  void remove(const Key& key) {
    if (bpf_map_delete_elem(map_.fd.get(), &key) == 0) deleted_++;
  }

  Key other_key(const Key& key, const Entry& entry) const {
    Key other = swapped<Key>(entry);
    other.protocol = key.protocol;
    return other;
  }

  // What the entry under `other` leads to is this key, with the ends swapped.
  bool leads_to(const Entry& other, const Key& key) const {
    Key back = swapped<Key>(other);
    back.protocol = key.protocol;
    return memcmp(&back, &key, sizeof(key)) == 0;
  }

  bool is_idle(const Key& key, const Entry& entry) const {
    return is_past(entry.last_used, flow_timeout(entry.flags, key.protocol, timeouts_));
  }

  void visit_initiator(const Key& key, Entry entry) {
    // the slice may be old by now
    if (!is_idle(key, entry) || !find(key, entry) || entry.flags & NAT_BACK || !is_idle(key, entry)) {
      kept_ += 2;
      return;
    }
    remove(key);
    const Key other = other_key(key, entry);
    Entry answers;
    if (find(other, answers) && answers.flags & NAT_BACK && leads_to(answers, key)) remove(other);
  }

  void visit_answers(const Key& key, const Entry& entry) {
    if (!is_past(entry.last_used, orphan_seconds)) return;
    Entry initiator;
    if (find(other_key(key, entry), initiator) && !(initiator.flags & NAT_BACK) && leads_to(initiator, key)) return;
    Entry now;
    if (find(key, now) && now.flags & NAT_BACK && is_past(now.last_used, orphan_seconds)) remove(key);
  }

  const Map& map_;
  const Timeouts& timeouts_;
  uint64_t kept_ = 0, deleted_ = 0;
};

}  // namespace

std::pair<uint64_t, uint64_t> sweep_nat(const Map& map, const Timeouts& timeouts) {
  if (map.key_size == sizeof(nat4_key) && map.value_size == sizeof(nat4_entry))
    return Sweep<nat4_key, nat4_entry>(map, timeouts).run();
  if (map.key_size == sizeof(nat6_key) && map.value_size == sizeof(nat6_entry))
    return Sweep<nat6_key, nat6_entry>(map, timeouts).run();
  throw Failure(EINVAL, "sweep", map.name, "not a map of translated sources");
}

}  // namespace tandem
