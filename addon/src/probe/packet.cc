// SPDX-License-Identifier: Apache-2.0
#include "probe/packet.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>

#include <algorithm>
#include <cstring>

namespace tandem {
namespace {

// Type, code, checksum, identifier, sequence: the same in both families.
struct EchoHeader {
  uint8_t type, code;
  uint16_t checksum, id, sequence;
};
constexpr size_t header_size = sizeof(EchoHeader);
static_assert(header_size == 8);

uint16_t checksum(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) sum += bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<uint16_t>(~sum));
}

// A request of ours, or its reply.
std::optional<EchoAnswer> read_own(uint8_t type, uint16_t id, uint64_t cookie, const uint8_t* data, size_t size) {
  EchoHeader header;
  EchoMark mark;
  if (size < header_size + sizeof(mark)) return {};
  memcpy(&header, data, header_size);
  memcpy(&mark, data + header_size, sizeof(mark));
  if (header.type != type || header.id != htons(id) || mark.cookie != cookie) return {};
  return EchoAnswer{ntohs(header.sequence), ProbeEvent::reply, 0, mark.sent_ns, mark.watch};
}

std::optional<EchoAnswer> read_echo4(uint16_t id, uint64_t cookie, const uint8_t* data, size_t size) {
  auto skip_ip = [&]() -> bool {
    if (size < sizeof(iphdr)) return false;
    iphdr header;
    memcpy(&header, data, sizeof(header));
    const size_t length = header.ihl * 4u;
    if (header.version != 4 || length < sizeof(iphdr) || length > size || header.protocol != IPPROTO_ICMP) return false;
    data += length;
    size -= length;
    return true;
  };
  if (!skip_ip() || size < header_size) return {};
  if (data[0] == ICMP_ECHOREPLY) return read_own(ICMP_ECHOREPLY, id, cookie, data, size);
  if (data[0] != ICMP_DEST_UNREACH) return {};
  const bool too_large = data[1] == ICMP_FRAG_NEEDED;
  const uint32_t mtu = too_large ? data[6] << 8 | data[7] : 0;  // RFC 1191 section 4
  data += header_size;
  size -= header_size;
  if (!skip_ip()) return {};
  auto answer = read_own(ICMP_ECHO, id, cookie, data, size);
  if (answer) answer->event = too_large ? ProbeEvent::too_large : ProbeEvent::unreachable, answer->mtu = mtu;
  return answer;
}

std::optional<EchoAnswer> read_echo6(uint16_t id, uint64_t cookie, const uint8_t* data, size_t size) {
  if (size < header_size) return {};
  if (data[0] == ICMP6_ECHO_REPLY) return read_own(ICMP6_ECHO_REPLY, id, cookie, data, size);
  const bool too_large = data[0] == ICMP6_PACKET_TOO_BIG;
  if (!too_large && data[0] != ICMP6_DST_UNREACH) return {};
  uint32_t mtu = 0;
  if (too_large) {
    memcpy(&mtu, data + 4, sizeof(mtu));
    mtu = ntohl(mtu);
  }
  ip6_hdr quoted;
  if (size < header_size + sizeof(quoted)) return {};
  memcpy(&quoted, data + header_size, sizeof(quoted));
  if (quoted.ip6_nxt != IPPROTO_ICMPV6) return {};
  const size_t skipped = header_size + sizeof(quoted);
  auto answer = read_own(ICMP6_ECHO_REQUEST, id, cookie, data + skipped, size - skipped);
  if (answer) answer->event = too_large ? ProbeEvent::too_large : ProbeEvent::unreachable, answer->mtu = mtu;
  return answer;
}

}  // namespace

uint32_t least_echo_size(bool v6) {
  return static_cast<uint32_t>((v6 ? sizeof(ip6_hdr) : sizeof(iphdr)) + header_size + sizeof(EchoMark));
}

std::vector<uint8_t> make_echo(bool v6, uint16_t id, uint16_t sequence, uint32_t size, const EchoMark& mark) {
  std::vector<uint8_t> bytes(std::max(size, least_echo_size(v6)) - (v6 ? sizeof(ip6_hdr) : sizeof(iphdr)));
  EchoHeader header{static_cast<uint8_t>(v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO), 0, 0, htons(id), htons(sequence)};
  memcpy(bytes.data(), &header, header_size);
  memcpy(bytes.data() + header_size, &mark, sizeof(mark));
  if (!v6) {
    header.checksum = checksum(bytes);
    memcpy(bytes.data(), &header, header_size);
  }
  return bytes;
}

std::optional<EchoAnswer> read_echo(bool v6, uint16_t id, uint64_t cookie, const uint8_t* data, size_t size) {
  return v6 ? read_echo6(id, cookie, data, size) : read_echo4(id, cookie, data, size);
}

}  // namespace tandem
