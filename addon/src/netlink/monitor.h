// SPDX-License-Identifier: Apache-2.0
// Changes of links, addresses, routes, rules and neighbours as they happen, in batches. When the kernel had to drop some
// (ENOBUFS), the receiver is told to list everything again.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "bpf/state.h"
#include "napi/sink.h"
#include "netlink/rows.h"

namespace tandem {

struct NetlinkEvent {
  bool gone = false;
  // monostate: list everything again
  std::variant<std::monostate, LinkRow, AddressRow, RouteRow, RuleRow, NeighbourRow> row;
};

class Monitor {
 public:
  using Events = std::vector<NetlinkEvent>;
  // groups: RTMGRP_* bits. The first batch holds a resync.
  Monitor(const std::string& netns, uint32_t groups, uint32_t receive_bytes, std::shared_ptr<Sink<Events>> sink);
  ~Monitor();
  void stop();

 private:
  struct Inner;
  std::unique_ptr<Inner> inner_;
};

}  // namespace tandem
