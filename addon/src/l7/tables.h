// SPDX-License-Identifier: Apache-2.0
// All rules of one moment, immutable: a worker that looks at them sees one set of rules, whoever publishes the next meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "l7/rules.h"

namespace tandem::l7 {

struct Tables {
  // By policy set, direction and group; see key_of.
  std::unordered_map<uint64_t, std::shared_ptr<const RuleSet>> groups;

  static uint64_t key_of(uint32_t policy_set, bool ingress, uint32_t group) {
    return static_cast<uint64_t>(policy_set) << 16 | static_cast<uint64_t>(ingress) << 15 | group;
  }

  // Null: the rules have not come.
  std::shared_ptr<const RuleSet> find(uint32_t policy_set, bool ingress, uint32_t group) const {
    const auto at = groups.find(key_of(policy_set, ingress, group));
    return at == groups.end() ? nullptr : at->second;
  }
};

// Where the present tables are. Readers keep a copy and look again when the generation is another one.
class Published {
 public:
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  std::pair<std::shared_ptr<const Tables>, uint64_t> now() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return {tables_, generation_.load(std::memory_order_relaxed)};
  }

  void publish(std::shared_ptr<const Tables> tables) {
    std::lock_guard<std::mutex> lock(mutex_);
    tables_ = std::move(tables);
    generation_.fetch_add(1, std::memory_order_release);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Tables> tables_ = std::make_shared<Tables>();
  std::atomic<uint64_t> generation_{1};
};

}  // namespace tandem::l7
