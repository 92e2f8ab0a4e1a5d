// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/questions.h"

namespace tandem::l7::dns {

bool Questions::add(Asked&& asked) {
  const auto [first, last] = by_id_.equal_range(asked.id);
  for (auto each = first; each != last; each++) {
    if (!(each->second->question == asked.question)) continue;
    *each->second = std::move(asked);
    order_.splice(order_.end(), order_, each->second);
    return false;
  }
  const uint16_t id = asked.id;
  order_.push_back(std::move(asked));
  by_id_.emplace(id, std::prev(order_.end()));
  return true;
}

std::optional<Asked> Questions::take(const Answer& answer) {
  const auto [first, last] = by_id_.equal_range(answer.id);
  for (auto each = first; each != last; each++) {
    if (!answer.question || each->second->question == *answer.question) return remove(each);
  }
  return std::nullopt;
}

std::optional<Asked> Questions::expire(uint64_t before) {
  if (order_.empty() || order_.front().begun >= before) return std::nullopt;
  const auto [first, last] = by_id_.equal_range(order_.front().id);
  for (auto each = first; each != last; each++) {
    if (each->second == order_.begin()) return remove(each);
  }
  return std::nullopt;
}

Asked Questions::remove(std::unordered_multimap<uint16_t, Order::iterator>::iterator found) {
  Asked asked = std::move(*found->second);
  order_.erase(found->second);
  by_id_.erase(found);
  return asked;
}

size_t Questions::memory() const {
  // A node of the list, one of the index, and a name of usual length.
  return order_.size() * (sizeof(Asked) + 2 * sizeof(void*) + 64 + 32);
}

}  // namespace tandem::l7::dns
