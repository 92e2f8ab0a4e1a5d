// SPDX-License-Identifier: Apache-2.0
// L7 rules as the engine asks them, made by JavaScript from the policies (src/native/l7-contract.ts, L7Tables). Immutable once published.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tandem::l7 {

class Pattern;  // l7/pattern.h: a regular expression (RE2) that matches whole texts

namespace http {
class RuleIndex;  // l7/http/rule-index.h
}

enum class Protocol : uint8_t { http, kafka, dns, tls };

// What a rule does where a header is not as it says (cilium.io/v2, headerMatches.mismatch). All but `refuse` let the request pass.
enum class Mismatch : uint8_t { refuse, log, add, remove, replace };

struct HeaderMatch {
  std::string name;                  // lower case
  std::optional<std::string> value;  // exact; none: the header is there
  Mismatch mismatch = Mismatch::refuse;
};

// All that is given has to match.
struct HttpRule {
  std::shared_ptr<const Pattern> method;  // null: any
  std::shared_ptr<const Pattern> path;    // of the path with its query
  std::shared_ptr<const Pattern> host;    // of :authority or Host, with the port if the client sends one
  std::vector<HeaderMatch> headers;
};

struct KafkaRule {
  std::vector<int16_t> api_keys;  // empty: any
  std::optional<int16_t> api_version;
  std::string client_id;  // empty: any
  std::string topic;      // empty: any
};

// matchName and matchPattern of DNS rules.
struct NameRule {
  std::shared_ptr<const Pattern> pattern;  // of the name in lower case with its last dot
};

// serverNames: "api.example.com", "*.example.com" (one label), "**.example.com" (one or more).
struct ServerNameRule {
  std::shared_ptr<const Pattern> pattern;  // of the name in lower case without a last dot
};

// What one group of a policy set demands (one entry of toPorts): one of its rules has to match.
struct RuleSet {
  uint32_t id = 0;  // in L7Tables
  Protocol protocol = Protocol::http;
  std::vector<HttpRule> http;
  std::shared_ptr<const http::RuleIndex> http_index;  // null: each rule is asked
  std::vector<KafkaRule> kafka;
  std::vector<NameRule> dns;
  std::vector<ServerNameRule> tls;
};

// What the policies of one end say about a flow.
enum class Stance : uint8_t {
  absent,   // this end is not a pod of this node, or nothing is enforced there
  open,     // allowed, whatever is asked
  refused,  // denied, or named by no rule
  asks,     // one of `any_of` has to allow what is asked
  unknown,  // asks, and the rules have not come yet: refuse
};

struct End {
  Stance stance = Stance::absent;
  uint32_t identity = 0;
  uint32_t endpoint = 0;    // number on this node; 0: not here
  uint32_t policy_set = 0;
  std::vector<std::shared_ptr<const RuleSet>> any_of;
};

// egress: the client's end; ingress: the server's. A request has to be allowed by both.
struct Demands {
  End egress;
  End ingress;
};

}  // namespace tandem::l7
