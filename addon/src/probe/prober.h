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

// A path that is asked again and again, as long as it answers like this. The same fields as a request's, but for:
struct Watch {
  uint32_t id;  // not 0
  bool tcp, v6;
  ProbeEvent event;  // what its answers are
  RawAddress from;   // and whose
  uint16_t port;
  uint16_t large;  // bytes of the packet that it is asked by each large_ms
  uint32_t large_ms;  // 0: never
  uint32_t large_first_ms;  // until the first one
  uint32_t interval_ms;
  uint32_t ifindex;
  RawAddress address;
};

struct WatchCount {
  uint32_t id, sent;
  uint32_t answered_ago_ms;  // UINT32_MAX: not since it was told last
  std::vector<uint32_t> times_us;  // of the last answers, the oldest first
};

struct ProbeAnswer {
  uint16_t sequence;
  ProbeEvent event;
  bool large;      // of a watch: what was asked by a packet of its large size
  uint32_t watch;  // which has ended; 0: of a request
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
  // Of those that are known only the pace is taken.
  void watch(const std::vector<Watch>& watches);
  // What was found since it was told last, of those that are known.
  std::vector<WatchCount> unwatch(const std::vector<uint32_t>& ids);
  std::vector<WatchCount> count();
  void stop();

 private:
  struct Inner;
  std::unique_ptr<Inner> inner_;
};

}  // namespace tandem
