// SPDX-License-Identifier: Apache-2.0
// Answers over UDP that wait until their addresses are open, or for their time.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "l7/dns/names.h"
#include "l7/dns/socket.h"

namespace tandem::l7::dns {

class HeldAnswers {
 public:
  // All wait equally long: `until` never falls.
  void add(uint64_t ticket, uint64_t until, const Path& path, std::string_view message) {
    answers_.push_back({ticket, until, path, std::string(message)});
  }

  bool is_empty() const { return answers_.empty(); }

  // ns when the first one's time is over; only where there are some.
  uint64_t next() const { return answers_.front().until; }

  // Calls `send(path, message, is_open)` for those that wait no more.
  template <typename Send>
  void release(const Names* names, uint64_t now, Send send) {
    for (auto each = answers_.begin(); each != answers_.end();) {
      const bool is_open = names->is_open(each->ticket);
      if (!is_open && each->until > now) {
        each++;
        continue;
      }
      send(each->path, std::string_view(each->message), is_open);
      each = answers_.erase(each);
    }
  }

 private:
  struct Answer {
    uint64_t ticket;
    uint64_t until;
    Path path;
    std::string message;
  };

  std::deque<Answer> answers_;
};

}  // namespace tandem::l7::dns
