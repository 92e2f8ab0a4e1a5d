// SPDX-License-Identifier: Apache-2.0
// Questions under way on one way to a server: one TCP connection, or one client's address and port over UDP. Only what was asked is answered: an
// answer has to have the id and the question of one of them, and ends it.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

#include "l7/dns/message.h"

namespace tandem::l7::dns {

struct Asked {
  uint16_t id = 0;
  Question question;
  uint32_t rules = 0;  // RuleSet::id of what allowed it
  uint64_t begun = 0;  // ns, as of Wire::now()
  bool is_shared = false;  // another process waits for the answer, too: that none comes is not told twice, nor of what that one has answered
};

class Questions {
 public:
  explicit Questions(size_t most) : most_(most) {}

  size_t size() const { return order_.size(); }
  bool is_full() const { return order_.size() >= most_; }

  // A client that asks again, as nothing came, has one question under way. False: it was there, and its time begins anew.
  bool add(Asked&& asked);

  // Whose answer it is, which then is under way no more.
  std::optional<Asked> take(const Answer& answer);

  // The longest under way, if it began before `before`; it is under way no more.
  std::optional<Asked> expire(uint64_t before);

  // Calls `take(asked)` for each, the longest under way first.
  template <typename Take>
  void each(Take take) {
    for (Asked& asked : order_) take(asked);
  }

  // When the longest under way began; none: nothing is.
  std::optional<uint64_t> oldest() const { return order_.empty() ? std::nullopt : std::optional(order_.front().begun); }

  size_t memory() const;

 private:
  using Order = std::list<Asked>;

  Asked remove(std::unordered_multimap<uint16_t, Order::iterator>::iterator found);

  const size_t most_;
  Order order_;  // by when it began
  std::unordered_multimap<uint16_t, Order::iterator> by_id_;
};

}  // namespace tandem::l7::dns
