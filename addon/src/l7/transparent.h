// SPDX-License-Identifier: Apache-2.0
// Sockets between a client and the server that it asked for, each seen by the other under its own address (IP_TRANSPARENT). What they send has
// the mark by which the programs know that it was judged when it came (bpf/lib/proxy.h). All are non-blocking; failures throw Failure.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "bpf/state.h"
#include "l7/address.h"

namespace tandem::l7 {

// Takes connections that the programs bring: accepted ones have the address that the client asked for as their own. On loopback, at a port of
// enum proxy_port (tandem/types.h). family: AF_INET, AF_INET6.
Descriptor listen_transparent(int family);

// Takes datagrams that the programs bring; recvmsg tells where each was sent to (IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR).
Descriptor receive_transparent(int family);

// From the client's address and port to the server; type: SOCK_STREAM (its connection is under way: writable when it is made or has failed) or
// SOCK_DGRAM.
Descriptor connect_transparent(const Address& client, const Address& server, int type);

// The same to a server of this node, from another port: with the client's own the server's connection would be the one that the client has with the
// proxy, as both are sockets of this node.
Descriptor connect_to_node(const Address& client, const Address& server);

// Sends datagrams in the server's name.
Descriptor answer_transparent(const Address& server);

// The pinned maps by which the programs find the sockets. One that is closed leaves its slot by itself.
class Slots {
 public:
  // bpffs: the node's folder.
  explicit Slots(const std::string& bpffs);

  // kind: enum proxy_kind of tandem/types.h; takes the place of whoever was there.
  void put(uint32_t kind, uint32_t worker, int fd) const;

  // From now on flows come. Returns the generation: that of the map is greater as soon as a successor has taken over.
  uint32_t open(uint32_t workers) const;

  uint32_t generation() const;

 private:
  Descriptor sockets_;
  Descriptor proxy_;
};

}  // namespace tandem::l7
