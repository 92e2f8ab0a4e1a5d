// SPDX-License-Identifier: Apache-2.0
// Paths that answer as they always did: asked again and again by the prober's thread, without a word to JavaScript, until an answer is another or
// none. A watch then ends, and whoever set it is told; it is there until it is taken away, so that what it knows is not lost.
//
// Questions go out in bursts, several times a second: a thread that wakes for each of them finds its code and data out of the caches each time.
#pragma once

#include <cstdint>
#include <queue>
#include <random>
#include <unordered_map>
#include <utility>
#include <vector>

#include "probe/prober.h"

namespace tandem {

// How long an answer may take: missMs of src/sources/health/path-probe.ts.
constexpr uint64_t watch_limit_ns = 600'000'000;

// What is due: a question to send, or one that was not answered, which ended its watch.
struct WatchTurn {
  uint32_t watch;
  bool silent, large;
  ProbeRequest request;
};

class Watches {
 public:
  // Of one that is known only the pace is taken.
  void put(const Watch& watch, uint64_t now);
  // What was found since it was told last, of these or of all. Of an unknown one nothing.
  std::vector<WatchCount> count(const std::vector<uint32_t>* of, uint64_t now);
  void remove(uint32_t id);

  // Steady clock, ns: when something is due, of the burst that it is in; UINT64_MAX: never.
  uint64_t next_burst_ns() const;
  std::vector<WatchTurn> due(uint64_t now);
  // It was sent.
  void asked(const WatchTurn& turn, uint64_t now);
  // As the watch expects it: nobody needs to hear of it. Else the watch has ended. @param large set to whether the question was of the large size
  bool answered(uint32_t id, ProbeEvent event, const RawAddress& from, uint64_t sent_ns, uint64_t now, bool& large);

 private:
  struct State {
    Watch watch;
    uint64_t due_ns = 0, large_due_ns = 0;
    uint64_t asked_ns = 0;  // of the question that waits; 0: none does
    bool asked_large = false, ended = false;
    // Since it was told last.
    uint32_t sent = 0;
    uint64_t answered_ns = 0;
    std::vector<uint32_t> times_us;  // the last ones, a ring
    uint32_t times = 0;
  };
  using Entry = std::pair<uint64_t, uint32_t>;

  uint64_t after(uint64_t now, uint32_t interval_ms);

  std::unordered_map<uint32_t, State> states_;
  // One entry for each that has not ended, and what is left of others. While a question waits it is that of its limit, so that none is asked more often.
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace tandem
