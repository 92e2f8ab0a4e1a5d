// SPDX-License-Identifier: Apache-2.0
// Sends datagrams in the name of any address and port: answers of servers to their clients. A socket bound to the server's address would take
// what is meant for a server of the same host, and one for each client is dear; a raw one says where each datagram comes from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/state.h"
#include "l7/dns/message.h"

namespace tandem::l7::dns {

class Sender {
 public:
  // @param length of addresses: 4 or 16. @param mark 0: none. Throws Failure without CAP_NET_RAW and CAP_NET_ADMIN.
  Sender(uint8_t length, uint32_t mark);

  // Queues one; not after 65,507 bytes.
  void send(const Place& from, const Place& to, std::string_view bytes);

  // Gives all that is queued to the kernel. Returns how many it did not take (no route, no room): they are lost, as datagrams may be.
  size_t flush();

 private:
  struct Datagram {
    Address from, to;
    std::string bytes;  // with the header of UDP
  };

  const uint8_t length_;
  Descriptor socket_;
  std::vector<Datagram> queue_;
};

}  // namespace tandem::l7::dns
