// SPDX-License-Identifier: Apache-2.0
// Settings and counts that DNS over UDP and over TCP share.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "l7/dns/message.h"
#include "l7/dns/names.h"

namespace tandem::l7::dns {

struct Options {
  Code denied = Code::refused;         // or no_name: resolvers of some C libraries end their search at the first refusal
  uint32_t most_delay = 100;           // ms that an answer waits for its addresses to be open
  uint32_t server_timeout = 10'000;    // ms; afterwards nothing is said
  size_t most_questions = 512;         // under way on one TCP connection, or of one client's address and port
  size_t most_of_endpoint = 4096;      // under way over UDP, of one endpoint
  size_t most_message = 16 * 1024;     // bytes of a question over TCP
};

struct Counts {
  std::atomic<uint64_t> forwarded{0}, denied{0}, malformed{0}, overloaded{0};
  std::atomic<uint64_t> waited{0};    // questions whose rules had not come
  std::atomic<uint64_t> unruled{0};   // of these, and of those that had no room to wait: refused, as no rules came
  std::atomic<uint64_t> stray{0};     // answers to nothing that was asked: poisoned, late, or a second one
  std::atomic<uint64_t> silent{0};    // questions that nobody answered in time
  std::atomic<uint64_t> overdue{0};   // answers that went to the pod before their addresses were open
};

struct Shared {
  Options options;
  std::shared_ptr<Names> names;
  Counts counts;
};

}  // namespace tandem::l7::dns
