// SPDX-License-Identifier: Apache-2.0
// DNS over UDP: a thread that takes datagrams of redirected flows, asks the rules, and passes them on from the client's own address and port. One
// thread a worker; each has its own listening sockets, so that a flow stays with one of them.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "l7/dns/handover.h"
#include "l7/dns/options.h"
#include "l7/dns/socket.h"
#include "l7/record.h"
#include "l7/rules.h"

namespace tandem::l7::dns {

// What the engine gives: rules, and somebody who writes records. Called from the worker's thread only.
class Surroundings {
 public:
  virtual ~Surroundings() = default;

  // What the policies of both ends demand of the flow now. Valid until the next call.
  virtual const Demands& demands(const Path& path) = 0;
  virtual void record(const Path& path, const Demands& demands, Record&& record) = 0;

  // At the end of each turn of the loop; true: come again within a tenth of a second.
  virtual bool flush(uint64_t now) = 0;
};

struct UdpOptions {
  // Bound; the kernel gives them datagrams whose destination they are not.
  std::vector<Descriptor> sockets;
  uint32_t mark = 0;             // of what is sent to servers and clients; 0: none
  size_t most_flows = 16'384;    // each is a socket
  uint32_t idle_timeout = 2000;  // ms that a flow without questions keeps its socket
};

class UdpWorker {
 public:
  // Throws Failure.
  UdpWorker(UdpOptions options, std::shared_ptr<Shared> shared, std::unique_ptr<Surroundings> surroundings);
  // Stops the thread; questions under way are lost.
  ~UdpWorker();

  // All of these from any thread but the worker's.

  // Waits until what was asked before now is answered, or was for too long. False: the time is over.
  bool wait_for_answers(std::chrono::steady_clock::time_point until);

  // What is under way; its answers may come here or to a successor.
  std::vector<UnderWay> under_way();

  // What a predecessor had under way, with answers to it that have come here already.
  void inherit(std::vector<UnderWay>&& questions);

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace tandem::l7::dns
