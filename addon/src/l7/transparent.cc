// SPDX-License-Identifier: Apache-2.0
#include "l7/transparent.h"

#include <bpf/bpf.h>
#include <netinet/tcp.h>
#include <tandem/types.h>

#include <cerrno>
#include <random>

#include "napi/failure.h"

namespace tandem::l7 {
namespace {

// MARK_PROXY of bpf/include/tandem/config.h, which only programs can include.
constexpr int proxy_mark = 0x0b00;
constexpr int backlog = 4096;

std::string text_of(const Address& address) {
  const std::string text = address.text();
  return (address.is_ipv4() ? text : "[" + text + "]") + ":" + std::to_string(address.port);
}

void set(const Descriptor& socket, int level, int option, int value, const char* name, const std::string& object) {
  if (setsockopt(socket.get(), level, option, &value, sizeof(value))) throw Failure(errno, std::string("set ") + name + " on", object);
}

Descriptor transparent(int family, int type, const std::string& object) {
  Descriptor made(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (made.get() < 0) throw Failure(errno, "make", object);
  if (family == AF_INET6) {
    set(made, SOL_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY", object);
    set(made, SOL_IPV6, IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT", object);
  } else {
    set(made, SOL_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT", object);
  }
  set(made, SOL_SOCKET, SO_MARK, proxy_mark, "SO_MARK", object);
  return made;
}

void bind_to(const Descriptor& made, const Address& address, const std::string& object) {
  sockaddr_storage storage;
  const socklen_t length = address.to(storage);
  if (bind(made.get(), reinterpret_cast<sockaddr*>(&storage), length)) throw Failure(errno, "bind", object);
}

// At a port of the proxy's own, which the programs can tell by a mark; if others have all of these, at any: bpf_sk_assign does without.
void bind_to_loopback(const Descriptor& made, Address address, const std::string& object) {
  for (uint16_t port = PROXY_PORT_FIRST; port <= PROXY_PORT_LAST; port++) {
    address.port = port;
    sockaddr_storage storage;
    const socklen_t length = address.to(storage);
    if (bind(made.get(), reinterpret_cast<sockaddr*>(&storage), length) == 0) return;
    if (errno != EADDRINUSE) throw Failure(errno, "bind", object);
  }
  address.port = 0;
  bind_to(made, address, object);
}

Address loopback(int family) {
  Address address;
  if (family == AF_INET) {
    address.bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  } else {
    address.bytes[15] = 1;
  }
  return address;
}

int family_of(const Address& address) { return address.is_ipv4() ? AF_INET : AF_INET6; }

Descriptor open_map(const std::string& path) {
  Descriptor map(bpf_obj_get(path.c_str()));
  if (map.get() < 0) throw Failure(errno, "open map", path);
  return map;
}

}  // namespace

Descriptor listen_transparent(int family) {
  const std::string object = family == AF_INET ? "the proxy's listener of IPv4" : "the proxy's listener of IPv6";
  Descriptor made = transparent(family, SOCK_STREAM, object);
  // Accepted sockets have it from here.
  set(made, SOL_TCP, TCP_NODELAY, 1, "TCP_NODELAY", object);
  bind_to_loopback(made, loopback(family), object);
  if (listen(made.get(), backlog)) throw Failure(errno, "listen on", object);
  return made;
}

Descriptor receive_transparent(int family) {
  const std::string object = family == AF_INET ? "the proxy's receiver of IPv4" : "the proxy's receiver of IPv6";
  Descriptor made = transparent(family, SOCK_DGRAM, object);
  if (family == AF_INET) {
    set(made, SOL_IP, IP_RECVORIGDSTADDR, 1, "IP_RECVORIGDSTADDR", object);
  } else {
    set(made, SOL_IPV6, IPV6_RECVORIGDSTADDR, 1, "IPV6_RECVORIGDSTADDR", object);
  }
  bind_to_loopback(made, loopback(family), object);
  return made;
}

Descriptor connect_transparent(const Address& client, const Address& server, int type) {
  const std::string object = text_of(client) + " to " + text_of(server);
  Descriptor made = transparent(family_of(server), type, object);
  // The client's own connection, and others of one client to other servers, have the same address and port.
  set(made, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR", object);
  if (type == SOCK_STREAM) set(made, SOL_TCP, TCP_NODELAY, 1, "TCP_NODELAY", object);
  bind_to(made, client, object);
  sockaddr_storage storage;
  const socklen_t length = server.to(storage);
  if (connect(made.get(), reinterpret_cast<sockaddr*>(&storage), length) && errno != EINPROGRESS) throw Failure(errno, "connect", object);
  return made;
}

Descriptor connect_to_node(const Address& client, const Address& server) {
  thread_local std::minstd_rand random{std::random_device{}()};
  // Of what kernels choose for clients (from 32,768 on) and of NodePorts (from 30,000 on) they keep clear.
  std::uniform_int_distribution<uint16_t> ports(16'384, 29'999);
  for (int tries = 16;; tries--) {
    Address from = client;
    from.port = ports(random);
    try {
      return connect_transparent(from, server, SOCK_STREAM);
    } catch (const Failure& failure) {
      if (tries == 0 || (failure.error != EADDRINUSE && failure.error != EADDRNOTAVAIL)) throw;
    }
  }
}

Descriptor answer_transparent(const Address& server) {
  const std::string object = "answers of " + text_of(server);
  Descriptor made = transparent(family_of(server), SOCK_DGRAM, object);
  set(made, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR", object);
  bind_to(made, server, object);
  return made;
}

Slots::Slots(const std::string& bpffs) : sockets_(open_map(bpffs + "/maps/proxy_socket")), proxy_(open_map(bpffs + "/maps/proxy")) {}

void Slots::put(uint32_t kind, uint32_t worker, int fd) const {
  const uint32_t slot = kind * PROXY_WORKERS + worker;
  const uint64_t value = static_cast<uint64_t>(fd);
  if (kind >= PROXY_KINDS || worker >= PROXY_WORKERS || bpf_map_update_elem(sockets_.get(), &slot, &value, BPF_ANY))
    throw Failure(kind >= PROXY_KINDS || worker >= PROXY_WORKERS ? EINVAL : errno, "put a socket into", "proxy_socket");
}

uint32_t Slots::open(uint32_t workers) const {
  const uint32_t zero = 0;
  proxy value{};
  if (bpf_map_lookup_elem(proxy_.get(), &zero, &value)) throw Failure(errno, "read", "map proxy");
  value.workers = workers;
  value.generation++;
  if (bpf_map_update_elem(proxy_.get(), &zero, &value, BPF_ANY)) throw Failure(errno, "write to", "map proxy");
  return value.generation;
}

uint32_t Slots::generation() const {
  const uint32_t zero = 0;
  proxy value{};
  return bpf_map_lookup_elem(proxy_.get(), &zero, &value) ? 0 : value.generation;
}

}  // namespace tandem::l7
