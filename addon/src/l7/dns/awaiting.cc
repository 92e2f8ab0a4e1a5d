// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/awaiting.h"

namespace tandem::l7::dns {

bool AwaitingRules::add(const Path& path, uint32_t endpoint, std::string_view message, uint64_t now) {
  if (questions_.size() >= most) return false;
  size_t& of_endpoint = of_endpoints_[endpoint];
  if (of_endpoint >= most_of_endpoint) return false;
  of_endpoint++;
  if (questions_.empty()) next_ = now + pause;
  questions_.push_back({path, endpoint, now, std::string(message)});
  return true;
}

AwaitingRules::Questions::iterator AwaitingRules::remove(Questions::iterator question) {
  const auto found = of_endpoints_.find(question->endpoint);
  if (--found->second == 0) of_endpoints_.erase(found);
  return questions_.erase(question);
}

}  // namespace tandem::l7::dns
