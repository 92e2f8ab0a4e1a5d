// SPDX-License-Identifier: Apache-2.0
// Which backend a hash of a client picks: a table of slots that follows from the backends alone, in whatever order they came, so that every node
// has the same one; where a backend comes or goes nearly all slots keep theirs (Maglev: Eisenbud et al., NSDI 2016, section 3.4).
//
// As there each backend has a sequence of its own that visits all slots of a table of prime size. But the backends do not take one slot a round
// each: in round j every backend looks at slot j of its sequence alone, and takes it if it is free, until it has its share. A slot that somebody
// loses or gains then changes nothing else until shares are full, and half as many slots move that need not (docs/decisions/0009).
//
// Here and not in JavaScript, as a node has ten thousand tables of a thousand slots, each of which is looked at four times before all are taken:
// that is 10 us for each table here, and 80 there. What is to come out is said once more, without any care for time, by the tests.
#include "bpf/maglev.h"

#include <tandem/types.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <tuple>

namespace tandem {
namespace {

// Where a backend's sequence begins, how it goes on, and who it is. All that hashes say is in the order of the first two.
struct Sequence {
  uint32_t start, step;
  std::array<uint8_t, 16> address;
  uint16_t port;
  uint16_t position;  // in the list that was given; it tells those apart that are the same one twice

  auto order() const { return std::tie(start, step, address, port, position); }
};

// FNV-1a, then Murmur3's finalizer: addresses that follow each other must not have sequences that do.
uint32_t hash_of(const uint8_t* address, size_t size, uint16_t port, uint32_t seed) {
  constexpr uint32_t prime = 0x01000193;
  uint32_t hash = seed;
  for (size_t i = 0; i < size; i++) hash = (hash ^ address[i]) * prime;
  hash = (hash ^ port >> 8) * prime;
  hash = (hash ^ (port & 255)) * prime;
  hash = (hash ^ hash >> 16) * 0x85ebca6b;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35;
  return hash ^ hash >> 16;
}

Sequence sequence_of(const uint8_t* entry, size_t position) {
  constexpr uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  constexpr size_t port_at = sizeof(struct address);
  Sequence sequence{};
  std::memcpy(sequence.address.data(), entry, sizeof(sequence.address));
  sequence.port = static_cast<uint16_t>(entry[port_at] << 8 | entry[port_at + 1]);
  sequence.position = static_cast<uint16_t>(position);
  const size_t skipped = std::memcmp(entry, mapped, sizeof(mapped)) == 0 ? sizeof(mapped) : 0;
  sequence.start = hash_of(entry + skipped, 16 - skipped, sequence.port, 0x2545f491);
  sequence.step = hash_of(entry + skipped, 16 - skipped, sequence.port, 0x9e3779b9);
  return sequence;
}

// A backend that looks for slots yet.
struct Contender {
  int32_t position;
  uint32_t next, step;
  int32_t left;  // slots until it has its share, rounded down
};

// Whoever has half of the greatest weight looks every second round.
struct Pace {
  uint32_t weight, due;
};

constexpr int32_t nobody = -1;

class Filling {
 public:
  Filling(const Bytes& backends, const std::vector<uint16_t>& weights, uint32_t slots)
      : slots_(slots), free_(static_cast<int32_t>(slots)), table_(slots, nobody) {
    std::vector<Sequence> sequences;
    const size_t count = backends.size() / sizeof(struct service_backend);
    for (size_t at = 0; at < count; at++) sequences.push_back(sequence_of(backends.data() + at * sizeof(struct service_backend), at));
    // Who looks first in a round must not depend on the order of arrival. Hashes that are equal are one in a billion: then addresses tell.
    std::sort(sequences.begin(), sequences.end(), [](const Sequence& a, const Sequence& b) { return a.order() < b.order(); });
    const auto weight_of = [&](const Sequence& each) -> uint64_t { return weights.empty() ? 1 : weights[each.position]; };
    const uint64_t total = weights.empty() ? count : std::accumulate(weights.begin(), weights.end(), uint64_t{0});
    extra_ = free_;
    for (const auto& each : sequences) {
      const uint64_t weight = weight_of(each);
      const auto share = static_cast<int32_t>(slots * weight / total);
      looking_.push_back({each.position, each.start % slots, each.step % (slots - 1) + 1, share});
      paces_.push_back({static_cast<uint32_t>(weight), 0});
      extra_ -= share;
    }
    fastest_ = fastest();
  }

  const std::vector<int32_t>& fill() {
    const bool weighted = std::any_of(paces_.begin(), paces_.end(), [&](const Pace& each) { return each.weight != fastest_; });
    if (!weighted) fill_unchecked();
    // The last one takes what there is: it has no need to look for it.
    while (free_ > 0 && looking_.size() > 1) weighted ? round<true>() : round<false>();
    if (free_ > 0) std::replace(table_.begin(), table_.end(), nobody, looking_.front().position);
    return table_;
  }

 private:
  uint32_t fastest() const {
    uint32_t most = 1;
    for (const auto& each : paces_) most = std::max(most, each.weight);
    return most;
  }

  uint32_t after(const Contender& each) const {
    const uint32_t next = each.next + each.step;
    return next < slots_ ? next : next - slots_;
  }

  // Rounds in which nobody can have his share before they end. Without a branch, as nothing foretells whether a slot is free.
  void fill_unchecked() {
    int32_t* const table = table_.data();
    for (;;) {
      int32_t rounds = looking_.front().left;
      for (const auto& each : looking_) rounds = std::min(rounds, each.left);
      if (rounds == 0) return;
      int32_t free = free_;
      while (rounds-- > 0) {
        for (auto& each : looking_) {
          const uint32_t slot = each.next;
          const int32_t before = table[slot];
          const int32_t taken = before >> 31;  // all bits if it was nobody's
          table[slot] = (before & ~taken) | (each.position & taken);
          each.next = after(each);
          each.left += taken;
          free += taken;
        }
      }
      free_ = free;
    }
  }

  template <bool weighted>
  void round() {
    int32_t* const table = table_.data();
    size_t still = 0;
    bool slower = false;
    for (size_t at = 0; at < looking_.size(); at++) {
      Contender who = looking_[at];
      Pace pace{};
      if constexpr (weighted) pace = paces_[at];
      if (who.left == 0 && extra_ == 0) {
        slower |= pace.weight == fastest_;
        continue;
      }
      if constexpr (weighted) {
        pace.due += pace.weight;
        if (pace.due < fastest_) {
          looking_[still] = who;
          paces_[still++] = pace;
          continue;
        }
        pace.due -= fastest_;
      }
      const uint32_t slot = who.next;
      who.next = after(who);
      if (table[slot] == nobody) {
        table[slot] = who.position;
        if (--free_ == 0) return;
        if (who.left == 0) {
          extra_--;
          slower |= pace.weight == fastest_;
          continue;
        }
        who.left--;
      }
      if constexpr (weighted) paces_[still] = pace;
      looking_[still++] = who;
    }
    looking_.resize(still);
    if constexpr (weighted) {
      paces_.resize(still);
      // Without the fastest there would be rounds in which nobody looks.
      if (slower) fastest_ = fastest();
    }
  }

  const uint32_t slots_;
  int32_t free_;
  int32_t extra_;  // what rounding down leaves: one more for as many
  uint32_t fastest_;
  std::vector<int32_t> table_;
  std::vector<Contender> looking_;  // in order
  std::vector<Pace> paces_;         // of those, where weights differ
};

bool is_prime(uint32_t number) {
  for (uint32_t factor = 2; factor * factor <= number; factor++)
    if (number % factor == 0) return false;
  return number >= 2;
}

// What does not hold would fill for ever.
void check(const Bytes& backends, const std::vector<uint16_t>& weights, uint32_t slots) {
  constexpr size_t size = sizeof(struct service_backend);
  const size_t count = backends.size() / size;
  if (backends.size() % size != 0 || count == 0 || count > 65536)
    bad_argument("backends must be 1 to 65536 of " + std::to_string(size) + " bytes, not " + std::to_string(backends.size()) + " bytes");
  if (!weights.empty() && weights.size() != count)
    bad_argument("weights must be " + std::to_string(count) + ", one a backend, not " + std::to_string(weights.size()));
  if (std::find(weights.begin(), weights.end(), 0) != weights.end()) bad_argument("weights must be 1 to 65535");
  if (slots < 3 || slots > 131071 || !is_prime(slots)) bad_argument("slots must be a prime from 3 to 131071, not " + std::to_string(slots));
}

}  // namespace

Bytes maglev_table(const Bytes& backends, const std::vector<uint16_t>& weights, uint32_t slots) {
  check(backends, weights, slots);
  Filling filling(backends, weights, slots);
  const auto& table = filling.fill();
  const bool wide = backends.size() / sizeof(struct service_backend) > MAGLEV_NARROW;
  const size_t bytes = table.size() * (wide ? 2 : 1);
  // Whole chunks; slots beyond the table are zero, and no hash falls there.
  Bytes laid((bytes + MAGLEV_CHUNK - 1) / MAGLEV_CHUNK * MAGLEV_CHUNK);
  for (size_t at = 0; at < table.size(); at++) {
    if (!wide) {
      laid[at] = static_cast<uint8_t>(table[at]);
    } else {
      laid[2 * at] = static_cast<uint8_t>(table[at]);
      laid[2 * at + 1] = static_cast<uint8_t>(table[at] >> 8);
    }
  }
  return laid;
}

}  // namespace tandem
