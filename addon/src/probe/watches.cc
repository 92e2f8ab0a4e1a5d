// SPDX-License-Identifier: Apache-2.0
#include "probe/watches.h"

#include <algorithm>

namespace tandem {
namespace {

constexpr uint64_t ms = 1'000'000;
// Between two bursts.
constexpr uint64_t burst_ns = 200 * ms;
// Times that are kept of one path: those of src/sources/health/latencies.ts.
constexpr size_t most_times = 64;

}  // namespace

// Nodes that started together do not ask in step.
uint64_t Watches::after(uint64_t now, uint32_t interval_ms) {
  return now + interval_ms * ms * std::uniform_int_distribution<uint64_t>(800, 1200)(random_) / 1000;
}

void Watches::put(const Watch& watch, uint64_t now) {
  const auto [at, is_new] = states_.try_emplace(watch.id);
  State& state = at->second;
  if (!is_new) {
    state.watch.interval_ms = watch.interval_ms;
    state.watch.large_ms = watch.large_ms;
    return;
  }
  state.watch = watch;
  state.due_ns = after(now, watch.interval_ms);
  state.large_due_ns = now + watch.large_first_ms * ms;
  queue_.emplace(state.due_ns, watch.id);
}

std::vector<WatchCount> Watches::count(const std::vector<uint32_t>* of, uint64_t now) {
  std::vector<WatchCount> counts;
  auto count_one = [&](State& state) {
    WatchCount one{state.watch.id, state.sent, UINT32_MAX, {}};
    if (state.answered_ns != 0) one.answered_ago_ms = static_cast<uint32_t>(std::min<uint64_t>((now - state.answered_ns) / ms, UINT32_MAX - 1));
    // The oldest first.
    const size_t from = state.times_us.size() < most_times ? 0 : state.times % most_times;
    one.times_us.assign(state.times_us.begin() + from, state.times_us.end());
    one.times_us.insert(one.times_us.end(), state.times_us.begin(), state.times_us.begin() + from);
    state.times_us.clear();
    state.times = state.sent = 0;
    state.answered_ns = 0;
    counts.push_back(std::move(one));
  };
  if (of == nullptr) {
    for (auto& [id, state] : states_) count_one(state);
  } else {
    for (uint32_t id : *of)
      if (const auto at = states_.find(id); at != states_.end()) count_one(at->second);
  }
  return counts;
}

void Watches::remove(uint32_t id) { states_.erase(id); }

uint64_t Watches::next_burst_ns() const {
  return queue_.empty() ? UINT64_MAX : (queue_.top().first + burst_ns - 1) / burst_ns * burst_ns;
}

std::vector<WatchTurn> Watches::due(uint64_t now) {
  std::vector<WatchTurn> turns;
  if (next_burst_ns() > now) return turns;
  while (!queue_.empty() && queue_.top().first <= now) {
    const uint32_t id = queue_.top().second;
    queue_.pop();
    const auto at = states_.find(id);
    if (at == states_.end() || at->second.ended) continue;
    State& state = at->second;
    const uint64_t until = state.asked_ns != 0 ? state.asked_ns + watch_limit_ns : state.due_ns;
    if (until > now) {
      queue_.emplace(until, id);
      continue;
    }
    const Watch& watch = state.watch;
    if (state.asked_ns != 0) {
      state.ended = true;
      turns.push_back({id, true, state.asked_large, {}});
      continue;
    }
    const bool large = watch.large_ms != 0 && state.large_due_ns <= now;
    if (large) state.large_due_ns = after(now, watch.large_ms);
    turns.push_back({id, false, large, {watch.tcp, watch.v6, 0, watch.port, large ? watch.large : 0u, watch.ifindex, watch.address}});
  }
  return turns;
}

void Watches::asked(const WatchTurn& turn, uint64_t now) {
  const auto at = states_.find(turn.watch);
  if (at == states_.end()) return;
  at->second.asked_ns = now;
  at->second.asked_large = turn.large;
  at->second.sent++;
  queue_.emplace(now + watch_limit_ns, turn.watch);
}

bool Watches::answered(uint32_t id, ProbeEvent event, const RawAddress& from, uint64_t sent_ns, uint64_t now, bool& large) {
  const auto at = states_.find(id);
  if (at == states_.end()) return false;
  State& state = at->second;
  large = state.asked_large && state.asked_ns == sent_ns;
  if (state.ended) return false;
  if (event != state.watch.event || from != state.watch.from) {
    state.ended = true;
    return false;
  }
  // Twice the same answer: the network does that.
  if (state.asked_ns != sent_ns) return true;
  state.asked_ns = 0;
  state.due_ns = after(now, state.watch.interval_ms);
  state.answered_ns = now;
  // A large packet takes longer, and no round trip of another size is compared with it.
  if (state.asked_large) return true;
  const auto time = static_cast<uint32_t>((now - sent_ns) / 1000);
  if (state.times_us.size() < most_times)
    state.times_us.push_back(time);
  else
    state.times_us[state.times % most_times] = time;
  state.times++;
  return true;
}

}  // namespace tandem
