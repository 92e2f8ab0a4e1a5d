// SPDX-License-Identifier: Apache-2.0
// Messages of DNS (RFC 1035, section 4) as far as a proxy has to understand them. Strict about questions, as a server has to read the very name
// that was judged: one question, whole, nothing behind it. Nothing is ever written anew: what is allowed is passed on as it came.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::l7::dns {

constexpr size_t header_bytes = 12;

// Types of records (RFC 1035, section 3.2.2; RFC 3596; RFC 6891) and of questions.
constexpr uint16_t type_a = 1, type_cname = 5, type_aaaa = 28, type_opt = 41, type_any = 255;

// Codes of answers (RFC 1035, section 4.1.1).
enum class Code : uint8_t { ok = 0, bad_format = 1, server_failure = 2, no_name = 3, not_implemented = 4, refused = 5 };

struct Address {
  uint8_t length = 0;  // 4 or 16
  std::array<uint8_t, 16> bytes{};

  bool operator==(const Address& other) const { return length == other.length && bytes == other.bytes; }
};

// An address and a port.
struct Place {
  Address address;
  uint16_t port = 0;

  bool operator==(const Place& other) const { return port == other.port && address == other.address; }
};

struct Question {
  std::string name;  // lower case with its last dot; "." is the root; bytes that no host name has are written \DDD
  uint16_t type = 0;
  uint16_t kind = 0;  // class; 1: the Internet

  bool operator==(const Question& other) const { return type == other.type && kind == other.kind && name == other.name; }
};

struct Query {
  uint16_t id = 0;
  Question question;
  size_t question_end = 0;  // in the message
  bool is_extended = false;  // EDNS (RFC 6891)
};

// What reading a client's message came to.
struct Reading {
  std::optional<Query> query;
  // Without a query: what to answer; none: nothing, as it is no question at all (an answer to an answer might go in circles).
  std::optional<Code> answer;
  const char* reason = "";  // "more than one question"
};

Reading read_query(std::string_view bytes);

struct Answer {
  uint16_t id = 0;
  Code code = Code::ok;
  bool is_truncated = false;
  // None: a server that did not understand the message says so with a header alone. Such an answer gives no name anything.
  std::optional<Question> question;
  // Of the name in the question: of its own records, or of those that its aliases lead to. Each once.
  std::vector<Address> addresses;
  uint32_t ttl = 0;  // seconds, of the shortest-lived record on the way to the addresses
};

// none: no answer to one question. Records that cannot be read give no addresses and do not harm the rest.
std::optional<Answer> read_answer(std::string_view bytes);

// An answer of the proxy's own: the header and question of the query with a code, and EDNS where the query had it (RFC 6891, section 6.1.1).
std::string make_answer(std::string_view query, const Query& read, Code code);

// To what could not be read: a header alone. `query` has at least header_bytes.
std::string make_failure(std::string_view query, Code code);

}  // namespace tandem::l7::dns
