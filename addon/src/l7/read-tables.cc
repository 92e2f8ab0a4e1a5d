// SPDX-License-Identifier: Apache-2.0
#include "l7/read-tables.h"

#include <tandem/types.h>

#include "l7/http/rule-index.h"
#include "l7/pattern.h"
#include "napi/convert.h"

namespace tandem::l7 {
namespace {

// Fewer are asked one by one as quickly.
constexpr size_t least_indexed = 8;
constexpr uint32_t most_groups = POLICY_WORDS * 64;

Protocol protocol_of(const std::string& word) {
  if (word == "http") return Protocol::http;
  if (word == "kafka") return Protocol::kafka;
  if (word == "dns") return Protocol::dns;
  if (word == "tls") return Protocol::tls;
  bad_argument("protocol must be http, kafka, dns or tls");
}

Mismatch mismatch_of(const std::string& word) {
  if (word == "refuse") return Mismatch::refuse;
  if (word == "log") return Mismatch::log;
  if (word == "add") return Mismatch::add;
  if (word == "remove") return Mismatch::remove;
  if (word == "replace") return Mismatch::replace;
  bad_argument("mismatch must be refuse, log, add, remove or replace");
}

// Throws what it cannot read as text.
std::shared_ptr<const Pattern> pattern_of(const Napi::Value& value, const char* what) {
  const std::string text = to_string(value, what);
  std::string error;
  auto pattern = Pattern::make(text, error);
  if (pattern == nullptr) throw std::string(what) + " " + text + ": " + error;
  return pattern;
}

std::shared_ptr<const Pattern> optional_pattern(const Napi::Value& value, const char* what) {
  return value.IsNull() ? nullptr : pattern_of(value, what);
}

HttpRule http_rule(const Napi::Object& rule) {
  HttpRule made;
  made.method = optional_pattern(rule.Get("method"), "method");
  made.path = optional_pattern(rule.Get("path"), "path");
  made.host = optional_pattern(rule.Get("host"), "host");
  const Napi::Array headers = to_array(rule.Get("headers"), "headers");
  for (uint32_t at = 0; at < headers.Length(); at++) {
    const Napi::Object header = to_object(headers.Get(at), "a header");
    HeaderMatch match;
    match.name = to_string(header.Get("name"), "name");
    const Napi::Value value = header.Get("value");
    if (!value.IsNull()) match.value = to_string(value, "value");
    match.mismatch = mismatch_of(to_string(header.Get("mismatch"), "mismatch"));
    made.headers.push_back(std::move(match));
  }
  return made;
}

KafkaRule kafka_rule(const Napi::Object& rule) {
  KafkaRule made;
  const Napi::Array keys = to_array(rule.Get("apiKeys"), "apiKeys");
  for (uint32_t at = 0; at < keys.Length(); at++) made.api_keys.push_back(static_cast<int16_t>(to_u32(keys.Get(at), "an API key", INT16_MAX)));
  const Napi::Value version = rule.Get("apiVersion"), client = rule.Get("clientId"), topic = rule.Get("topic");
  if (!version.IsNull()) made.api_version = static_cast<int16_t>(to_u32(version, "apiVersion", INT16_MAX));
  if (!client.IsNull()) made.client_id = to_string(client, "clientId");
  if (!topic.IsNull()) made.topic = to_string(topic, "topic");
  return made;
}

}  // namespace

std::shared_ptr<const RuleSet> read_rule_set(const Napi::Value& value, std::vector<Refused>& refused) {
  const Napi::Object object = to_object(value, "a rule set");
  auto made = std::make_shared<RuleSet>();
  made->id = to_u32(object.Get("id"), "id");
  made->protocol = protocol_of(to_string(object.Get("protocol"), "protocol"));
  const Napi::Array rules = to_array(object.Get("rules"), "rules");
  for (uint32_t at = 0; at < rules.Length(); at++) {
    const Napi::Object rule = to_object(rules.Get(at), "a rule");
    try {
      switch (made->protocol) {
        case Protocol::http:
          made->http.push_back(http_rule(rule));
          break;
        case Protocol::kafka:
          made->kafka.push_back(kafka_rule(rule));
          break;
        case Protocol::dns:
          made->dns.push_back({pattern_of(rule.Get("pattern"), "pattern")});
          break;
        case Protocol::tls:
          made->tls.push_back({pattern_of(rule.Get("pattern"), "pattern")});
          break;
      }
    } catch (const std::string& reason) {
      refused.push_back({made->id, reason});
    }
  }
  if (made->http.size() >= least_indexed) made->http_index = std::make_shared<http::RuleIndex>(made->http);
  return made;
}

std::shared_ptr<const Tables> read_tables(const Napi::Value& value, std::vector<Refused>& refused) {
  const Napi::Object tables = to_object(value, "tables");
  const Napi::Array sets = to_array(tables.Get("ruleSets"), "ruleSets"), groups = to_array(tables.Get("groups"), "groups");
  std::unordered_map<uint32_t, std::shared_ptr<const RuleSet>> known;
  for (uint32_t at = 0; at < sets.Length(); at++) {
    auto rules = read_rule_set(sets.Get(at), refused);
    known[rules->id] = std::move(rules);
  }
  auto made = std::make_shared<Tables>();
  for (uint32_t at = 0; at < groups.Length(); at++) {
    const Napi::Object group = to_object(groups.Get(at), "a group");
    const std::string direction = to_string(group.Get("direction"), "direction");
    if (direction != "ingress" && direction != "egress") bad_argument("direction must be egress or ingress");
    const auto rules = known.find(to_u32(group.Get("ruleSet"), "ruleSet"));
    if (rules == known.end()) bad_argument("a group names a rule set that is not there");
    const uint32_t set = to_u32(group.Get("policySet"), "policySet"), number = to_u32(group.Get("group"), "group", most_groups - 1);
    made->groups[Tables::key_of(set, direction == "ingress", number)] = rules->second;
  }
  return made;
}

}  // namespace tandem::l7
