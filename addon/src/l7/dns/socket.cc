// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/socket.h"

#include <linux/in6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include "napi/failure.h"

namespace tandem::l7::dns {
namespace {

constexpr size_t slots = 64;
// Questions that are longer have something else in mind.
constexpr size_t slot_bytes = 4096;

bool read_place(const sockaddr_storage& from, Place& place) {
  if (from.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(from);
    place.address.length = 4;
    memcpy(place.address.bytes.data(), &v4.sin_addr, 4);
    place.port = ntohs(v4.sin_port);
    return true;
  }
  if (from.ss_family != AF_INET6) return false;
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(from);
  place.address.length = 16;
  memcpy(place.address.bytes.data(), &v6.sin6_addr, 16);
  place.port = ntohs(v6.sin6_port);
  return true;
}

socklen_t write_place(const Place& place, sockaddr_storage& out) {
  out = {};
  if (place.address.length == 4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(place.port);
    memcpy(&v4.sin_addr, place.address.bytes.data(), 4);
    return sizeof(v4);
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(place.port);
  memcpy(&v6.sin6_addr, place.address.bytes.data(), 16);
  return sizeof(v6);
}

bool set_option(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof(value)) == 0; }

bool prepare(int fd, const Path& path, uint32_t mark) {
  const bool is_four = path.client.address.length == 4;
  if (!set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return false;
  if (mark != 0 && !set_option(fd, SOL_SOCKET, SO_MARK, static_cast<int>(mark))) return false;
  if (!set_option(fd, is_four ? SOL_IP : SOL_IPV6, is_four ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1)) return false;
  sockaddr_storage address;
  socklen_t length = write_place(path.client, address);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length)) return false;
  length = write_place(path.server, address);
  return connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0;
}

}  // namespace

struct Receiver::Slots {
  mmsghdr headers[slots] = {};
  sockaddr_storage from[slots] = {};
  iovec parts[slots] = {};
  alignas(cmsghdr) char controls[slots][CMSG_SPACE(sizeof(sockaddr_in6)) + CMSG_SPACE(64)] = {};
  char bytes[slots][slot_bytes];
};

Receiver::Receiver() : slots_(std::make_shared<Slots>()) {}

size_t PathHash::operator()(const Path& path) const {
  const auto hash = [](const Place& place) {
    const std::string_view bytes(reinterpret_cast<const char*>(place.address.bytes.data()), place.address.length);
    return std::hash<std::string_view>()(bytes) * 31 + place.port;
  };
  return hash(path.client) * 1'000'003 + hash(path.server);
}

void want_destinations(int fd) {
  int family = 0;
  socklen_t length = sizeof(family);
  const bool is_set = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0 &&
      (family == AF_INET6 ? set_option(fd, SOL_IPV6, IPV6_RECVORIGDSTADDR, 1) : set_option(fd, SOL_IP, IP_RECVORIGDSTADDR, 1));
  if (!is_set) throw Failure(errno, "ask for original destinations of", "UDP socket " + std::to_string(fd));
}

int Receiver::fill(int fd) {
  for (size_t each = 0; each < slots; each++) {
    msghdr& header = slots_->headers[each].msg_hdr;
    slots_->parts[each] = {slots_->bytes[each], slot_bytes};
    header = {};
    header.msg_name = &slots_->from[each];
    header.msg_namelen = sizeof(sockaddr_storage);
    header.msg_iov = &slots_->parts[each];
    header.msg_iovlen = 1;
    header.msg_control = slots_->controls[each];
    header.msg_controllen = sizeof(slots_->controls[each]);
  }
  return recvmmsg(fd, slots_->headers, slots, MSG_DONTWAIT, nullptr);
}

bool Receiver::read_path(int slot, Path& path) const {
  const msghdr& header = slots_->headers[slot].msg_hdr;
  if (!read_place(slots_->from[slot], path.client)) return false;
  for (cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr; each = CMSG_NXTHDR(const_cast<msghdr*>(&header), each)) {
    const bool is_meant = (each->cmsg_level == SOL_IP && each->cmsg_type == IP_ORIGDSTADDR) ||
        (each->cmsg_level == SOL_IPV6 && each->cmsg_type == IPV6_ORIGDSTADDR);
    if (!is_meant) continue;
    sockaddr_storage to{};
    memcpy(&to, CMSG_DATA(each), std::min(sizeof(to), static_cast<size_t>(each->cmsg_len - CMSG_LEN(0))));
    return read_place(to, path.server) && path.server.address.length == path.client.address.length;
  }
  return false;
}

std::string_view Receiver::bytes_of(int slot) const {
  const mmsghdr& message = slots_->headers[slot];
  return message.msg_hdr.msg_flags & MSG_TRUNC ? std::string_view() : std::string_view(slots_->bytes[slot], message.msg_len);
}

int connect_as_client(const Path& path, uint32_t mark) {
  Descriptor fd(socket(path.client.address.length == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return fd.get() >= 0 && prepare(fd.get(), path, mark) ? fd.release() : -1;
}

}  // namespace tandem::l7::dns
