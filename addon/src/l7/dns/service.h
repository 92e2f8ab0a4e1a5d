// SPDX-License-Identifier: Apache-2.0
// DNS as a part of the engine: a worker over UDP for each event loop, with the policies of the kernel's tables.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "l7/dns/udp.h"
#include "l7/transparent.h"
#include "l7/worker.h"

namespace tandem::l7::dns {

class Service {
 public:
  // `shared` outlives it. Throws Failure.
  Service(l7::Shared& shared, uint32_t workers);

  // From now on the kernel gives it what pods ask.
  void listen(const Slots& slots) const;

  // See UdpWorker.
  bool wait_for_answers(std::chrono::steady_clock::time_point until);
  std::vector<UnderWay> under_way();
  void inherit(std::vector<UnderWay>&& questions);

 private:
  std::vector<std::unique_ptr<UdpWorker>> workers_;
  std::vector<std::pair<int, int>> sockets_;  // of IPv4 and IPv6; the workers' own
};

}  // namespace tandem::l7::dns
