// SPDX-License-Identifier: Apache-2.0
#include "l7/kafka/judge.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "l7/kafka/protocol.h"

namespace tandem::l7::kafka {
namespace {

// Whatever its topics are.
bool matches(const KafkaRule& rule, const RequestHead& head) {
  const bool any_key = rule.api_keys.empty();
  if (!any_key && std::find(rule.api_keys.begin(), rule.api_keys.end(), head.key) == rule.api_keys.end()) return false;
  if (rule.api_version.has_value() && *rule.api_version != head.version) return false;
  return rule.client_id.empty() || rule.client_id == head.client;
}

}  // namespace

bool is_allowed(const End& end, const RequestHead& head, Topics topics, uint32_t& rules) {
  if (end.stance == Stance::absent || end.stance == Stance::open) return true;
  if (end.stance != Stance::asks) return false;
  const bool is_topical = is_about_topics(head.key);
  // Each topic has to be allowed by some rule; a request about none is allowed by any.
  std::set<std::string_view> left;
  if (topics != nullptr && topics->has_value())
    for (const Topic& topic : **topics) left.insert(topic.name);
  const bool is_about_none = topics != nullptr && topics->has_value() && left.empty();
  for (const auto& set : end.any_of) {
    if (set->protocol != Protocol::kafka) continue;
    for (const KafkaRule& rule : set->kafka) {
      if (!matches(rule, head)) continue;
      const bool is_settled = rule.topic.empty() || !is_topical || is_about_none;
      if (is_settled || (left.erase(rule.topic) > 0 && left.empty())) {
        if (rules == 0) rules = set->id;
        return true;
      }
    }
  }
  return false;
}

bool names_topics(const Demands& demands) {
  for (const End* end : {&demands.egress, &demands.ingress})
    for (const auto& set : end->any_of)
      for (const KafkaRule& rule : set->kafka)
        if (!rule.topic.empty()) return true;
  return false;
}

}  // namespace tandem::l7::kafka
