// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/sender.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "napi/failure.h"

namespace tandem::l7::dns {
namespace {

constexpr size_t header_bytes_of_udp = 8;
constexpr size_t most_at_once = 64;

void set_option(int fd, int level, int option, int value, const char* name) {
  if (setsockopt(fd, level, option, &value, sizeof(value))) throw Failure(errno, std::string("set ") + name + " on", "raw socket for answers of DNS");
}

uint32_t add(uint32_t sum, const void* bytes, size_t length) {
  const auto* each = static_cast<const uint8_t*>(bytes);
  for (size_t at = 0; at + 1 < length; at += 2) sum += static_cast<uint32_t>(each[at] << 8 | each[at + 1]);
  if (length & 1) sum += static_cast<uint32_t>(each[length - 1] << 8);
  return sum;
}

// RFC 768, RFC 8200 section 8.1: of both addresses, protocol and length, and the datagram. 65,535 bytes cannot overflow 32 bits.
uint16_t checksum_of(const Address& from, const Address& to, const std::string& bytes) {
  uint32_t sum = IPPROTO_UDP + static_cast<uint32_t>(bytes.size());
  sum = add(sum, from.bytes.data(), from.length);
  sum = add(sum, to.bytes.data(), to.length);
  sum = add(sum, bytes.data(), bytes.size());
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  const uint16_t folded = static_cast<uint16_t>(~sum);
  return folded == 0 ? 0xffff : folded;
}

void put(std::string& out, size_t at, uint16_t number) {
  out[at] = static_cast<char>(number >> 8);
  out[at + 1] = static_cast<char>(number & 0xff);
}

socklen_t make_address(const Address& address, sockaddr_storage& out) {
  out = {};
  if (address.length == 4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    memcpy(&v4.sin_addr, address.bytes.data(), 4);
    return sizeof(v4);
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  v6.sin6_family = AF_INET6;
  memcpy(&v6.sin6_addr, address.bytes.data(), 16);
  return sizeof(v6);
}

struct Control {
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(in6_pktinfo))];
};

template <typename Info>
void put_source(msghdr& header, Control& control, int level, int type, const Info& info) {
  header.msg_control = control.bytes;
  header.msg_controllen = CMSG_SPACE(sizeof(info));
  cmsghdr* message = CMSG_FIRSTHDR(&header);
  message->cmsg_level = level;
  message->cmsg_type = type;
  message->cmsg_len = CMSG_LEN(sizeof(info));
  memcpy(CMSG_DATA(message), &info, sizeof(info));
}

}  // namespace

Sender::Sender(uint8_t length, uint32_t mark)
    : length_(length), socket_(socket(length == 4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP)) {
  if (socket_.get() < 0) throw Failure(errno, "open", "raw socket for answers of DNS");
  if (length == 4) set_option(socket_.get(), SOL_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT");
  else set_option(socket_.get(), SOL_IPV6, IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT");
  if (mark != 0) set_option(socket_.get(), SOL_SOCKET, SO_MARK, static_cast<int>(mark), "SO_MARK");
  // It would get a copy of every datagram of this network namespace: bound to an address that nobody sends to, it gets none.
  Address nobody;
  nobody.length = length;
  if (length == 4) nobody.bytes = {127, 255, 255, 254};
  else nobody.bytes = {0x01, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};  // 100::/64, discard-only (RFC 6666)
  sockaddr_storage address;
  const socklen_t size = make_address(nobody, address);
  if (bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size)) throw Failure(errno, "bind", "raw socket for answers of DNS");
}

void Sender::send(const Place& from, const Place& to, std::string_view bytes) {
  const size_t size = header_bytes_of_udp + bytes.size();
  if (size > UINT16_MAX) return;
  Datagram datagram{from.address, to.address, std::string(header_bytes_of_udp, '\0')};
  datagram.bytes.append(bytes);
  put(datagram.bytes, 0, from.port);
  put(datagram.bytes, 2, to.port);
  put(datagram.bytes, 4, static_cast<uint16_t>(size));
  put(datagram.bytes, 6, checksum_of(from.address, to.address, datagram.bytes));
  queue_.push_back(std::move(datagram));
}

size_t Sender::flush() {
  size_t lost = 0;
  for (size_t at = 0; at < queue_.size();) {
    const size_t count = std::min(most_at_once, queue_.size() - at);
    mmsghdr headers[most_at_once] = {};
    sockaddr_storage addresses[most_at_once];
    iovec parts[most_at_once];
    Control controls[most_at_once] = {};
    for (size_t each = 0; each < count; each++) {
      Datagram& datagram = queue_[at + each];
      msghdr& header = headers[each].msg_hdr;
      header.msg_name = &addresses[each];
      header.msg_namelen = make_address(datagram.to, addresses[each]);
      parts[each] = {datagram.bytes.data(), datagram.bytes.size()};
      header.msg_iov = &parts[each];
      header.msg_iovlen = 1;
      if (length_ == 4) {
        in_pktinfo info{};
        memcpy(&info.ipi_spec_dst, datagram.from.bytes.data(), 4);
        put_source(header, controls[each], SOL_IP, IP_PKTINFO, info);
      } else {
        in6_pktinfo info{};
        memcpy(&info.ipi6_addr, datagram.from.bytes.data(), 16);
        put_source(header, controls[each], SOL_IPV6, IPV6_PKTINFO, info);
      }
    }
    const int sent = sendmmsg(socket_.get(), headers, static_cast<unsigned>(count), 0);
    if (sent > 0) {
      at += static_cast<size_t>(sent);
    } else if (errno != EINTR) {
      // The first of them cannot be sent; the others may.
      at++;
      lost++;
    }
  }
  queue_.clear();
  return lost;
}

}  // namespace tandem::l7::dns
