// SPDX-License-Identifier: Apache-2.0
#include "probe/filter.h"

#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

#include <vector>

namespace tandem {
namespace {

constexpr uint32_t whole = UINT32_MAX;

// Classic BPF (socket(7)); a load beyond the packet's end drops it. Jumps are counted from the instruction after them.
sock_filter load(uint16_t size, uint16_t mode, uint32_t at) { return {static_cast<uint16_t>(BPF_LD | size | mode), 0, 0, at}; }
sock_filter equals(uint32_t value, uint8_t yes, uint8_t no) { return {BPF_JMP | BPF_JEQ | BPF_K, yes, no, value}; }
sock_filter give(uint32_t bytes) { return {BPF_RET | BPF_K, 0, 0, bytes}; }

// The socket sees IPv4 packets from the IP header on.
std::vector<sock_filter> program4(uint16_t id) {
  return {
      {BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0},  // X: length of the IP header
      load(BPF_B, BPF_IND, 0),
      equals(ICMP_ECHOREPLY, 0, 2),
      load(BPF_H, BPF_IND, 4),
      equals(id, 11, 10),
      equals(ICMP_DEST_UNREACH, 0, 9),
      // The packet that is quoted behind 8 bytes: its header's length, protocol, and identifier.
      load(BPF_B, BPF_IND, 8 + 9),
      equals(IPPROTO_ICMP, 0, 7),
      load(BPF_B, BPF_IND, 8),
      {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xf},
      {BPF_ALU | BPF_LSH | BPF_K, 0, 0, 2},
      {BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0},
      {BPF_MISC | BPF_TAX, 0, 0, 0},
      load(BPF_H, BPF_IND, 8 + 4),
      equals(id, 1, 0),
      give(0),
      give(whole),
  };
}

// And ICMPv6 from its own.
std::vector<sock_filter> program6(uint16_t id) {
  return {
      load(BPF_B, BPF_ABS, 0),
      equals(ICMP6_ECHO_REPLY, 0, 2),
      load(BPF_H, BPF_ABS, 4),
      equals(id, 7, 6),
      equals(ICMP6_DST_UNREACH, 1, 0),
      equals(ICMP6_PACKET_TOO_BIG, 0, 4),
      load(BPF_B, BPF_ABS, 8 + 6),
      equals(IPPROTO_ICMPV6, 0, 2),
      load(BPF_H, BPF_ABS, 8 + 40 + 4),
      equals(id, 1, 0),
      give(0),
      give(whole),
  };
}

}  // namespace

bool filter_echoes(int fd, bool v6, uint16_t id) {
  auto program = v6 ? program6(id) : program4(id);
  const sock_fprog attached{static_cast<uint16_t>(program.size()), program.data()};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &attached, sizeof(attached)) == 0;
}

}  // namespace tandem
