// SPDX-License-Identifier: Apache-2.0
// Asks other nodes whether they are there: ICMP echo by raw sockets, TCP by connections that are reset as soon as they stand. And it is who
// answers the TCP of others: it accepts and closes. A thread of its own sends, receives and measures, so that times are those of the network and
// not of a busy event loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "napi/sink.h"
#include "probe/packet.h"

namespace tandem {

struct ProbeRequest {
  bool tcp, v6;
  uint16_t sequence;  // the answer has it
  uint16_t port;      // of TCP
  uint32_t size;      // of the packet of an echo request, which is not fragmented; less than the least: the least
  uint32_t ifindex;   // device that it leaves by; 0: as the routes say
  RawAddress address;
};

struct ProbeAnswer {
  uint16_t sequence;
  ProbeEvent event;
  uint32_t value;   // MTU of too_large, errno of failed
  uint32_t rtt_us;
  RawAddress from;  // who sent it: another than was asked may have an error to tell; of TCP zero
};

using ProbeAnswers = std::vector<ProbeAnswer>;

class Prober {
 public:
  // port: where TCP of others is answered; 0: nowhere. Failure when a socket cannot be had: EADDRINUSE of the port, EPERM without CAP_NET_RAW.
  Prober(const std::string& netns, uint16_t port, std::shared_ptr<Sink<ProbeAnswers>> sink);
  ~Prober();
  void send(std::vector<ProbeRequest> requests);
  void stop();

 private:
  struct Inner;
  std::unique_ptr<Inner> inner_;
};

}  // namespace tandem
