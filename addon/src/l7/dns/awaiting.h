// SPDX-License-Identifier: Apache-2.0
// Questions over UDP whose rules have not come yet: a pod is new, and its first datagram was quicker than the agent. They wait as connections do
// (l7/connection.cc), and are judged again in short intervals.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "l7/dns/socket.h"

namespace tandem::l7::dns {

class AwaitingRules {
 public:
  // False: there is no room. endpoint: the client's.
  bool add(const Path& path, uint32_t endpoint, std::string_view message, uint64_t now);

  size_t size() const { return questions_.size(); }

  // ns when they are judged again; only where there are some.
  uint64_t next() const { return next_; }

  // Whether one has waited since before.
  bool has_older(uint64_t time) const { return !questions_.empty() && questions_.front().since < time; }

  // Calls `judge(path, message, is_last)` for each, the first that came first, if it is time; true: it waits no more. `is_last`: its time is over.
  template <typename Judge>
  void judge_again(uint64_t now, Judge judge) {
    if (questions_.empty() || now < next_) return;
    next_ = now + pause;
    for (auto each = questions_.begin(); each != questions_.end();) {
      const bool is_last = each->since + longest <= now;
      if (judge(each->path, std::string_view(each->message), is_last) || is_last) each = remove(each);
      else each++;
    }
  }

 private:
  static constexpr uint64_t pause = 20'000'000, longest = 1'000'000'000;  // ns
  // One pod without rules leaves room for others.
  static constexpr size_t most = 1024, most_of_endpoint = 128;

  struct Question {
    Path path;
    uint32_t endpoint;
    uint64_t since;
    std::string message;
  };
  using Questions = std::list<Question>;

  Questions::iterator remove(Questions::iterator question);

  Questions questions_;  // by when they came
  std::unordered_map<uint32_t, size_t> of_endpoints_;
  uint64_t next_ = 0;
};

}  // namespace tandem::l7::dns
