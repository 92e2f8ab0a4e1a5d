// SPDX-License-Identifier: Apache-2.0
#include "l7/tls/filter.h"

#include "l7/json.h"
#include "l7/pattern.h"

namespace tandem::l7::tls {
namespace {

// A fatal alert, access_denied (RFC 8446 6.2): clients say what happened instead of "connection reset".
constexpr std::string_view denied_alert("\x15\x03\x03\x00\x02\x02\x31", 7);

// False: none of the end's rules allows the name.
bool is_allowed(const End& end, const std::string& name, uint32_t& rules) {
  if (end.stance == Stance::absent || end.stance == Stance::open) return true;
  if (end.stance != Stance::asks || name.empty()) return false;
  for (const auto& set : end.any_of) {
    if (set->protocol != Protocol::tls) continue;
    for (const ServerNameRule& rule : set->tls) {
      if (!rule.pattern->matches(name)) continue;
      if (rules == 0) rules = set->id;
      return true;
    }
  }
  return false;
}

}  // namespace

size_t TlsFilter::receive(Side from, std::string_view bytes, Wire& wire) {
  if (is_over_) return bytes.size();
  if (bytes.empty() || passes_) {
    if (!passes_ && begun_ == 0) wire.expire_after(limits_.idle_timeout);
    return 0;
  }
  // Nobody has asked it yet.
  if (from == Side::server) return bytes.size();
  if (begun_ == 0) {
    begun_ = wire.now();
    wire.expire_after(limits_.head_timeout);
  }
  const ClientHello said = hello_.read(bytes);
  switch (said.read) {
    case ClientHello::Read::more:
      if (bytes.size() >= limits_.head) {
        wire.reached(Limit::head);
        close(Verdict::refused, false, "a ClientHello that is too large", wire);
      }
      return is_over_ ? bytes.size() : 0;
    case ClientHello::Read::refused:
      close(Verdict::refused, false, said.reason, wire);
      return bytes.size();
    case ClientHello::Read::whole:
      break;
  }
  name_ = said.server_name;
  hello_ = HelloReader();
  const Demands& demands = wire.demands();
  const bool egress = is_allowed(demands.egress, name_, rules_);
  if (!egress || !is_allowed(demands.ingress, name_, rules_)) {
    rules_ = 0;
    wire.send(Side::client, denied_alert);
    close(Verdict::denied, egress, nullptr, wire);
    return bytes.size();
  }
  tell(Verdict::forwarded, false, nullptr, wire);
  passes_ = true;
  wire.expire_after(0);
  wire.send(Side::server, bytes);
  wire.pass(Side::client, everything);
  wire.pass(Side::server, everything);
  return bytes.size();
}

void TlsFilter::ended(Side from, std::string_view, Wire& wire) {
  if (passes_) wire.end(other(from), Ending::finish);
  else if (!is_over_) close(Verdict::refused, false, begun_ == 0 ? nullptr : "the client ended in the middle of its hello", wire);
}

void TlsFilter::failed(Side side, int, Wire& wire) {
  if (side == Side::server && passes_) tell(Verdict::failed, false, "the server takes no connection, or broke off", wire);
  wire.end(Side::server, Ending::reset);
  wire.end(Side::client, Ending::reset);
  is_over_ = true;
}

void TlsFilter::expired(Wire& wire) {
  wire.reached(begun_ == 0 ? Limit::idle_timeout : Limit::head_timeout);
  close(Verdict::refused, false, begun_ == 0 ? nullptr : "a hello that did not come in time", wire);
}

void TlsFilter::drain(Wire& wire) {
  if (begun_ == 0) close(Verdict::refused, false, nullptr, wire);
}

void TlsFilter::close(Verdict verdict, bool ingress, const char* reason, Wire& wire) {
  // A connection on which nothing was said is no request.
  if (begun_ != 0) tell(verdict, ingress, reason, wire);
  wire.end(Side::client, Ending::finish);
  wire.expire_after(0);
  is_over_ = true;
}

void TlsFilter::tell(Verdict verdict, bool ingress, const char* reason, Wire& wire) {
  Record record;
  record.verdict = verdict;
  record.protocol = "tls";
  record.begun = begun_;
  record.rules = rules_;
  record.ingress = ingress;
  if (reason != nullptr) record.reason = reason;
  record.detail = "\"tls\":{\"serverName\":";
  append_json(record.detail, name_);
  record.detail += "}";
  wire.record(std::move(record));
}

}  // namespace tandem::l7::tls
