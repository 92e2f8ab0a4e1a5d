// SPDX-License-Identifier: Apache-2.0
#include "l7/network.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>

#include "napi/failure.h"

namespace tandem::l7 {
namespace {

Descriptor stream(int family, const char* what) {
  Descriptor made(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int one = 1;
  if (made.get() < 0 || setsockopt(made.get(), SOL_TCP, TCP_NODELAY, &one, sizeof(one))) throw Failure(errno, "make", what);
  return made;
}

}  // namespace

Demands FixedNetwork::demands(const Address&, const Address&, uint8_t, const Tables& tables) const {
  Demands made;
  for (const auto& [key, rules] : tables.groups) {
    made.egress.stance = Stance::asks;
    made.egress.any_of.push_back(rules);
  }
  // The table has no order of its own.
  std::sort(made.egress.any_of.begin(), made.egress.any_of.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
  return made;
}

Descriptor FixedNetwork::connect(const Address&, const Address& server) const {
  Descriptor made = stream(server.is_ipv4() ? AF_INET : AF_INET6, "a connection");
  sockaddr_storage storage;
  const socklen_t length = server.to(storage);
  if (::connect(made.get(), reinterpret_cast<sockaddr*>(&storage), length) && errno != EINPROGRESS)
    throw Failure(errno, "connect to", server.text());
  return made;
}

Descriptor FixedNetwork::listen(int family) const {
  if (family != (listen_.is_ipv4() ? AF_INET : AF_INET6)) return Descriptor();
  Descriptor made = stream(family, "a listener");
  const int one = 1;
  sockaddr_storage storage;
  const socklen_t length = listen_.to(storage);
  if (setsockopt(made.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) || bind(made.get(), reinterpret_cast<sockaddr*>(&storage), length) ||
      ::listen(made.get(), 4096))
    throw Failure(errno, "listen on", listen_.text());
  return made;
}

}  // namespace tandem::l7
