// SPDX-License-Identifier: Apache-2.0
// What is told of a request: one line of JSON each, made by the engine (who and when) and the filter (what). See L7Record in
// src/native/l7-contract.ts.
#pragma once

#include <cstdint>
#include <string>

namespace tandem::l7 {

enum class Verdict : uint8_t {
  forwarded,
  denied,      // a rule decided so
  refused,     // not a request that may be passed on (400, malformed, a limit)
  redirected,  // told to ask for the unescaped path
  failed,      // the server could not be reached, or broke off
};

struct Record {
  Verdict verdict = Verdict::forwarded;
  const char* protocol = "";  // "http/1.1", "http/2", "tls", "dns", "tcp"
  uint64_t begun = 0;         // Wire::now() at the request's first byte
  uint64_t answered = 0;      // at the first byte of the answer; 0: there was none
  uint32_t rules = 0;         // RuleSet::id of what allowed it; 0: none
  bool ingress = false;       // denied: by the server's end; else by the client's
  std::string reason;         // of refused and failed: "whitespace before the colon of a header"
  std::string detail;         // members of a JSON object, without braces: "\"method\":\"GET\",\"path\":\"/\",\"status\":200"
};

}  // namespace tandem::l7
