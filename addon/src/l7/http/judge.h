// SPDX-License-Identifier: Apache-2.0
// What the rules say about one HTTP request, whichever version brought it. The filters parse and refuse what is ambiguous; here paths are
// normalised and rules asked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "l7/record.h"
#include "l7/rules.h"

namespace tandem::l7::http {

struct Header {
  std::string_view name;  // as it was sent
  std::string_view value;
};

struct Request {
  std::string_view method;
  std::string_view target;     // origin-form path with query, "*", or authority-form of CONNECT
  std::string_view authority;  // :authority, or Host
  const std::vector<Header>* headers = nullptr;  // all values of repeated ones, in order
};

// To be made before the request is passed on (headerMatches.mismatch).
struct Edit {
  enum class Kind : uint8_t { add, remove, replace } kind;
  std::string name;   // lower case
  std::string value;  // remove: the value that goes; empty: all
};

struct Judgement {
  Verdict verdict = Verdict::denied;  // forwarded, denied, refused (400), redirected (307 to `target`)
  bool ingress = false;               // who denied: the server's end; else the client's
  uint32_t rules = 0;                 // RuleSet::id of what allowed it
  std::string target;                 // as it is to be passed on, or redirected to
  std::vector<Edit> edits;
  std::vector<std::string> mismatches;  // headers that a rule wants logged
  std::string reason;                   // of refused
};

struct JudgeOptions {
  bool normalise_path = true;  // Cilium's --http-normalize-path
};

Judgement judge(const Request& request, const Demands& demands, const JudgeOptions& options);

// Cilium's answer to what is denied, with 403.
constexpr std::string_view denied_text = "Access denied\r\n";

}  // namespace tandem::l7::http
