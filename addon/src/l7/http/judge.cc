// SPDX-License-Identifier: Apache-2.0
#include "l7/http/judge.h"

#include <algorithm>

#include "l7/http/path.h"
#include "l7/http/rule-index.h"
#include "l7/pattern.h"

namespace tandem::l7::http {
namespace {

bool same_name(std::string_view sent, std::string_view lower) {
  if (sent.size() != lower.size()) return false;
  for (size_t at = 0; at < sent.size(); at++) {
    const char byte = sent[at];
    if ((byte >= 'A' && byte <= 'Z' ? byte + 32 : byte) != lower[at]) return false;
  }
  return true;
}

enum class Presence { absent, equal, different };

// A header that is sent twice with another value is different: whoever reads the first one alone, or the last, must not read what a rule forbids.
Presence state_of(const HeaderMatch& match, const Request& request) {
  Presence state = Presence::absent;
  for (const Header& header : *request.headers) {
    if (!same_name(header.name, match.name)) continue;
    if (match.value.has_value() && header.value != *match.value) return Presence::different;
    state = Presence::equal;
  }
  return state;
}

// Without the headers that a rule lets pass all the same.
bool matches(const HttpRule& rule, const Request& request, std::string_view target) {
  if (rule.method != nullptr && !rule.method->matches(request.method)) return false;
  if (rule.host != nullptr && !rule.host->matches(request.authority)) return false;
  if (rule.path != nullptr && !rule.path->matches(target)) return false;
  return std::all_of(rule.headers.begin(), rule.headers.end(), [&](const HeaderMatch& match) {
    return match.mismatch != Mismatch::refuse || state_of(match, request) == Presence::equal;
  });
}

void add_edits(const HttpRule& rule, const Request& request, Judgement& judgement) {
  for (const HeaderMatch& match : rule.headers) {
    if (match.mismatch == Mismatch::refuse || state_of(match, request) == Presence::equal) continue;
    const std::string value = match.value.value_or("");
    switch (match.mismatch) {
      case Mismatch::refuse:
        break;
      case Mismatch::log:
        judgement.mismatches.push_back(match.name);
        break;
      case Mismatch::add:
        judgement.edits.push_back({Edit::Kind::add, match.name, value});
        break;
      case Mismatch::remove:
        // Whatever is there instead of the right value.
        judgement.edits.push_back({Edit::Kind::remove, match.name, ""});
        break;
      case Mismatch::replace:
        judgement.edits.push_back({Edit::Kind::replace, match.name, value});
        break;
    }
  }
}

// The rule set that allows it; null: none does. Every rule that matches has its say about headers.
const RuleSet* allowing(const End& end, const Request& request, std::string_view target, Judgement* judgement) {
  const RuleSet* found = nullptr;
  for (const auto& rules : end.any_of) {
    if (rules->protocol != Protocol::http) continue;
    const auto is_settled_by = [&](const HttpRule& rule) {
      if (!matches(rule, request, target)) return false;
      if (found == nullptr) found = rules.get();
      if (judgement != nullptr) add_edits(rule, request, *judgement);
      return judgement == nullptr;
    };
    if (rules->http_index == nullptr) {
      for (const HttpRule& rule : rules->http)
        if (is_settled_by(rule)) return found;
    } else {
      thread_local std::vector<uint32_t> candidates;
      rules->http_index->candidates(target, request.authority, candidates);
      for (const uint32_t number : candidates)
        if (is_settled_by(rules->http[number])) return found;
    }
  }
  return found;
}

bool is_path(std::string_view target) { return !target.empty() && target[0] == '/'; }

bool is_allowed(const End& end, const Request& request, const std::vector<std::string>& readings, Judgement& judgement) {
  if (end.stance == Stance::absent || end.stance == Stance::open) return true;
  if (end.stance != Stance::asks) return false;
  const RuleSet* rules = allowing(end, request, judgement.target, &judgement);
  if (rules == nullptr) return false;
  const bool every = std::all_of(readings.begin(), readings.end(), [&](const std::string& reading) {
    return allowing(end, request, reading, nullptr) != nullptr;
  });
  if (every && judgement.rules == 0) judgement.rules = rules->id;
  return every;
}

}  // namespace

Judgement judge(const Request& request, const Demands& demands, const JudgeOptions& options) {
  Judgement judgement;
  judgement.target = std::string(request.target);
  std::vector<std::string> readings;
  if (is_path(request.target)) {
    if (options.normalise_path) {
      Normalised normalised = normalise(request.target);
      if (normalised.refused != nullptr) {
        judgement.verdict = Verdict::refused;
        judgement.reason = normalised.refused;
        return judgement;
      }
      judgement.target = std::move(normalised.target);
      if (normalised.escaped_slash) {
        judgement.verdict = Verdict::redirected;
        return judgement;
      }
    }
    readings = other_readings(judgement.target);
  }
  if (!is_allowed(demands.egress, request, readings, judgement)) {
    judgement.verdict = Verdict::denied;
    judgement.ingress = false;
    return judgement;
  }
  if (!is_allowed(demands.ingress, request, readings, judgement)) {
    judgement.verdict = Verdict::denied;
    judgement.ingress = true;
    return judgement;
  }
  judgement.verdict = Verdict::forwarded;
  return judgement;
}

}  // namespace tandem::l7::http
