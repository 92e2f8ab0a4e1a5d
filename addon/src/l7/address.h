// SPDX-License-Identifier: Apache-2.0
// Who is at one end of a flow: an address as the maps of the kernel have it (IPv4 as ::ffff:a.b.c.d), and a port.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

namespace tandem::l7 {

struct Address {
  std::array<uint8_t, 16> bytes{};
  uint16_t port = 0;  // host order

  bool is_ipv4() const {
    static constexpr uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(bytes.data(), mapped, sizeof(mapped)) == 0;
  }

  bool operator==(const Address& other) const { return port == other.port && bytes == other.bytes; }
  bool operator!=(const Address& other) const { return !(*this == other); }

  static Address from(const sockaddr_storage& socket_address) {
    Address made;
    if (socket_address.ss_family == AF_INET) {
      const auto& v4 = reinterpret_cast<const sockaddr_in&>(socket_address);
      made.bytes[10] = made.bytes[11] = 0xff;
      memcpy(made.bytes.data() + 12, &v4.sin_addr, 4);
      made.port = ntohs(v4.sin_port);
    } else {
      const auto& v6 = reinterpret_cast<const sockaddr_in6&>(socket_address);
      memcpy(made.bytes.data(), &v6.sin6_addr, 16);
      made.port = ntohs(v6.sin6_port);
    }
    return made;
  }

  // Returns its length.
  socklen_t to(sockaddr_storage& out) const {
    out = {};
    if (is_ipv4()) {
      auto& v4 = reinterpret_cast<sockaddr_in&>(out);
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      memcpy(&v4.sin_addr, bytes.data() + 12, 4);
      return sizeof(v4);
    }
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    memcpy(&v6.sin6_addr, bytes.data(), 16);
    return sizeof(v6);
  }

  // Without the port.
  std::string text() const {
    if (is_ipv4()) {
      // Of every record: inet_ntop prints with a format, which is ten times slower.
      std::string made;
      for (size_t at = 12; at < 16; at++) made.append(at == 12 ? "" : ".").append(std::to_string(bytes[at]));
      return made;
    }
    char buffer[INET6_ADDRSTRLEN];
    inet_ntop(AF_INET6, bytes.data(), buffer, sizeof(buffer));
    return buffer;
  }
};

}  // namespace tandem::l7
