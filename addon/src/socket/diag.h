// SPDX-License-Identifier: Apache-2.0
// Finding sockets of a network namespace and ending them (sock_diag(7), SOCK_DESTROY of Linux 4.5; for UDP of 4.8).
#pragma once

#include <tandem/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

// A connected datagram socket: SO_COOKIE, and its peer (IPv4 as ::ffff:a.b.c.d; port in host order).
struct DiagTarget {
  uint64_t cookie;
  std::array<uint8_t, 16> address;
  uint16_t port;
};

// Those of this thread's namespace, each as the map sock_reverse would know it.
std::vector<sock_reverse_key> connected_datagram_sockets();

// Ends those that are in this thread's namespace and connected as said; others are passed over. Their owners are told ECONNABORTED once, then
// they are sockets that are not connected. Returns how many. Failure EOPNOTSUPP without CONFIG_INET_DIAG_DESTROY.
uint32_t destroy_datagram_sockets(const std::vector<DiagTarget>& targets);

}  // namespace tandem
