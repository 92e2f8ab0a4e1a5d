// SPDX-License-Identifier: Apache-2.0
#include "l7/choose.h"

#include <optional>

#include "l7/dns/filter.h"
#include "l7/http/filter.h"
#include "l7/kafka/filter.h"
#include "l7/pass.h"
#include "l7/tls/filter.h"

namespace tandem::l7 {
namespace {

Choice refused(const char* reason) {
  Choice choice;
  choice.reason = reason;
  return choice;
}

}  // namespace

Choice choose(const Demands& demands, const Limits& limits, const http::JudgeOptions& options, const std::shared_ptr<dns::Shared>& dns) {
  std::optional<Protocol> protocol;
  for (const End* end : {&demands.egress, &demands.ingress}) {
    if (end->stance == Stance::refused) return refused("no rule allows it");
    if (end->stance == Stance::unknown) {
      Choice choice;
      choice.waits = true;
      return choice;
    }
    if (end->stance != Stance::asks) continue;
    for (const auto& rules : end->any_of) {
      if (protocol.has_value() && *protocol != rules->protocol) return refused("rules of two protocols for one port");
      protocol = rules->protocol;
    }
  }
  Choice choice;
  if (!protocol.has_value()) {
    choice.filter = std::make_unique<PassFilter>();
    return choice;
  }
  switch (*protocol) {
    case Protocol::http:
      choice.filter = std::make_unique<http::HttpFilter>(limits, options);
      return choice;
    case Protocol::kafka:
      choice.filter = std::make_unique<kafka::KafkaFilter>(limits);
      return choice;
    case Protocol::tls:
      choice.filter = std::make_unique<tls::TlsFilter>(limits);
      return choice;
    case Protocol::dns:
      choice.filter = std::make_unique<dns::DnsFilter>(dns);
      return choice;
  }
  return refused("an unknown protocol");
}

}  // namespace tandem::l7
