// SPDX-License-Identifier: Apache-2.0
// Echo requests and what comes back for them (RFC 792, RFC 4443): a reply, or an ICMP error that quotes the request. Packets are of anybody: every
// length is checked.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace tandem {

// Values are those of src/native/probe-contract.ts.
enum class ProbeEvent : uint8_t { reply = 0, unreachable = 1, too_large = 2, accepted = 3, refused = 4, failed = 5, silent = 6 };

// What a prober puts into each of its requests, so that it knows them again: `cookie` is of one prober.
struct EchoMark {
  uint64_t cookie;
  uint64_t sent_ns;  // steady clock
  uint32_t watch;    // whose question it is; 0: of none
  uint32_t zero;
};

struct EchoAnswer {
  uint16_t sequence;
  ProbeEvent event;
  uint32_t mtu;  // of too_large; 0: the router does not say
  uint64_t sent_ns;
  uint32_t watch;
};

// An address of either family; of IPv4 the first four bytes.
using RawAddress = std::array<uint8_t, 16>;

// Bytes of the smallest request as a packet of the IP layer.
uint32_t least_echo_size(bool v6);

// An echo request whose packet has `size` bytes, at least the least: ICMP header and payload. The kernel adds the checksum of ICMPv6.
std::vector<uint8_t> make_echo(bool v6, uint16_t id, uint16_t sequence, uint32_t size, const EchoMark& mark);

// What a raw socket received: with the IP header for IPv4, without for IPv6. Nothing for what this prober did not ask.
std::optional<EchoAnswer> read_echo(bool v6, uint16_t id, uint64_t cookie, const uint8_t* data, size_t size);

}  // namespace tandem
