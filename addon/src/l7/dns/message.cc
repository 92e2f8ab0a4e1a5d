// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/message.h"

#include <algorithm>

namespace tandem::l7::dns {
namespace {

constexpr size_t most_name_bytes = 255;
constexpr uint8_t most_label_bytes = 63;
constexpr uint16_t internet = 1;
constexpr int most_aliases = 16;
// Additional records of a query: EDNS, and a signature (RFC 8945).
constexpr uint16_t most_additional = 4;

uint8_t byte_at(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

uint16_t number_at(std::string_view bytes, size_t at) { return static_cast<uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1)); }

uint32_t long_at(std::string_view bytes, size_t at) { return uint32_t{number_at(bytes, at)} << 16 | number_at(bytes, at + 2); }

void put(std::string& out, uint16_t number) {
  out.push_back(static_cast<char>(number >> 8));
  out.push_back(static_cast<char>(number & 0xff));
}

bool is_plain(uint8_t byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
}

// A byte that no host name has is written so that no label can look like two.
void put_text(std::string& out, uint8_t byte) {
  if (byte >= 'A' && byte <= 'Z') byte = static_cast<uint8_t>(byte + ('a' - 'A'));
  if (is_plain(byte)) {
    out.push_back(static_cast<char>(byte));
    return;
  }
  out.push_back('\\');
  out.push_back(static_cast<char>('0' + byte / 100));
  out.push_back(static_cast<char>('0' + byte / 10 % 10));
  out.push_back(static_cast<char>('0' + byte % 10));
}

// Appends the name at `at` and moves `at` behind it. False: no name. A pointer leads before all that was read so far, so there is no way in circles.
bool read_name(std::string_view bytes, size_t& at, bool may_point, std::string& name) {
  size_t from = at, before = at, length = 1;
  bool has_jumped = false;
  name.clear();
  for (;;) {
    if (from >= bytes.size()) return false;
    const uint8_t size = byte_at(bytes, from);
    if (size == 0) {
      if (!has_jumped) at = from + 1;
      if (name.empty()) name = ".";
      return true;
    }
    if (size >= 0xc0) {
      if (!may_point || from + 2 > bytes.size()) return false;
      const size_t target = number_at(bytes, from) & 0x3fff;
      if (!has_jumped) at = from + 2;
      has_jumped = true;
      if (target >= before) return false;
      before = from = target;
      continue;
    }
    if (size > most_label_bytes || from + 1 + size > bytes.size()) return false;
    length += size + 1u;
    if (length > most_name_bytes) return false;
    for (size_t each = from + 1; each <= from + size; each++) put_text(name, byte_at(bytes, each));
    name.push_back('.');
    from += 1u + size;
  }
}

struct RawRecord {
  std::string name;
  uint16_t type = 0, kind = 0;
  uint32_t ttl = 0;
  size_t data = 0, end = 0;
};

bool read_record(std::string_view bytes, size_t& at, bool may_point, RawRecord& record) {
  if (!read_name(bytes, at, may_point, record.name) || at + 10 > bytes.size()) return false;
  record.type = number_at(bytes, at);
  record.kind = number_at(bytes, at + 2);
  record.ttl = long_at(bytes, at + 4);
  // RFC 2181, section 8: with the first bit set it is taken for 0.
  if (record.ttl > 0x7fffffff) record.ttl = 0;
  record.data = at + 10;
  record.end = record.data + number_at(bytes, at + 8);
  at = record.end;
  return record.end <= bytes.size();
}

bool read_question(std::string_view bytes, size_t& at, bool may_point, Question& question) {
  if (!read_name(bytes, at, may_point, question.name) || at + 4 > bytes.size()) return false;
  question.type = number_at(bytes, at);
  question.kind = number_at(bytes, at + 2);
  at += 4;
  return true;
}

Reading refused(Code code, const char* reason) { return {std::nullopt, code, reason}; }

struct Alias {
  std::string from, to;
  uint32_t ttl;
};

struct Found {
  std::string name;
  Address address;
  uint32_t ttl;
};

// Only what belongs to the name that was asked for counts: a server must not speak for names that it was not asked about.
void follow_aliases(const Question& question, const std::vector<Alias>& aliases, const std::vector<Found>& found, Answer& answer) {
  const std::string* name = &question.name;
  uint32_t ttl = UINT32_MAX;
  for (int followed = 0; followed <= most_aliases; followed++) {
    for (const Found& each : found) {
      if (each.name != *name) continue;
      ttl = std::min(ttl, each.ttl);
      if (std::find(answer.addresses.begin(), answer.addresses.end(), each.address) == answer.addresses.end())
        answer.addresses.push_back(each.address);
    }
    if (!answer.addresses.empty()) {
      answer.ttl = ttl;
      return;
    }
    const auto alias = std::find_if(aliases.begin(), aliases.end(), [&](const Alias& each) { return each.from == *name; });
    if (alias == aliases.end()) return;
    ttl = std::min(ttl, alias->ttl);
    name = &alias->to;
  }
}

void read_addresses(std::string_view bytes, size_t at, uint16_t count, Answer& answer) {
  const Question& question = *answer.question;
  const bool wants_four = question.type == type_a || question.type == type_any;
  const bool wants_six = question.type == type_aaaa || question.type == type_any;
  if (question.kind != internet || (!wants_four && !wants_six)) return;
  std::vector<Alias> aliases;
  std::vector<Found> found;
  RawRecord record;
  for (uint16_t read = 0; read < count; read++) {
    // A datagram that was cut ends within a record; what came before counts, as the client may use it.
    if (!read_record(bytes, at, true, record)) break;
    if (record.kind != internet) continue;
    const size_t length = record.end - record.data;
    if ((record.type == type_a && wants_four && length == 4) || (record.type == type_aaaa && wants_six && length == 16)) {
      Found each{record.name, {}, record.ttl};
      each.address.length = static_cast<uint8_t>(length);
      std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(record.data), length, reinterpret_cast<char*>(each.address.bytes.data()));
      found.push_back(std::move(each));
    } else if (record.type == type_cname) {
      Alias alias{record.name, {}, record.ttl};
      size_t end = record.data;
      if (read_name(bytes, end, true, alias.to) && end == record.end) aliases.push_back(std::move(alias));
    }
  }
  follow_aliases(question, aliases, found, answer);
}

}  // namespace

Reading read_query(std::string_view bytes) {
  if (bytes.size() < header_bytes) return {std::nullopt, std::nullopt, "shorter than a header"};
  const uint16_t flags = number_at(bytes, 2);
  if (flags & 0x8000) return {std::nullopt, std::nullopt, "an answer from a client"};
  if (flags & 0x7800) return refused(Code::not_implemented, "not a question (opcode)");
  if (number_at(bytes, 4) != 1) return refused(Code::bad_format, "not one question");
  if (number_at(bytes, 6) != 0 || number_at(bytes, 8) != 0) return refused(Code::bad_format, "a question with answers");
  Query query;
  query.id = number_at(bytes, 0);
  size_t at = header_bytes;
  if (!read_question(bytes, at, false, query.question)) return refused(Code::bad_format, "a question that is not whole");
  query.question_end = at;
  const uint16_t additional = number_at(bytes, 10);
  if (additional > most_additional) return refused(Code::bad_format, "too many additional records");
  RawRecord record;
  for (uint16_t read = 0; read < additional; read++) {
    if (!read_record(bytes, at, false, record)) return refused(Code::bad_format, "an additional record that is not whole");
    if (record.type == type_opt) query.is_extended = true;
  }
  if (at != bytes.size()) return refused(Code::bad_format, "bytes behind the question");
  return {std::move(query), std::nullopt, ""};
}

std::optional<Answer> read_answer(std::string_view bytes) {
  if (bytes.size() < header_bytes) return std::nullopt;
  const uint16_t flags = number_at(bytes, 2);
  if (!(flags & 0x8000) || (flags & 0x7800)) return std::nullopt;
  Answer answer;
  answer.id = number_at(bytes, 0);
  answer.code = static_cast<Code>(flags & 15);
  answer.is_truncated = flags & 0x0200;
  const uint16_t questions = number_at(bytes, 4);
  if (questions == 0 && answer.code != Code::ok && bytes.size() == header_bytes) return answer;
  if (questions != 1) return std::nullopt;
  size_t at = header_bytes;
  if (!read_question(bytes, at, false, answer.question.emplace())) return std::nullopt;
  if (answer.code == Code::ok) read_addresses(bytes, at, number_at(bytes, 6), answer);
  return answer;
}

std::string make_answer(std::string_view query, const Query& read, Code code) {
  std::string out(query.substr(0, read.question_end));
  const uint16_t flags = static_cast<uint16_t>(0x8000 | (number_at(query, 2) & 0x0100) | static_cast<uint16_t>(code));
  out[2] = static_cast<char>(flags >> 8);
  out[3] = static_cast<char>(flags & 0xff);
  std::fill(out.begin() + 6, out.begin() + 12, '\0');
  if (!read.is_extended) return out;
  out[11] = 1;
  out.push_back('\0');  // the root's name
  put(out, type_opt);
  put(out, 1232);  // what fits into a datagram on every path (dnsflagday.net/2020)
  put(out, 0);
  put(out, 0);
  put(out, 0);
  return out;
}

std::string make_failure(std::string_view query, Code code) {
  std::string out(query.substr(0, 2));
  put(out, static_cast<uint16_t>(0x8000 | (number_at(query, 2) & 0x7900) | static_cast<uint16_t>(code)));
  out.append(8, '\0');
  return out;
}

}  // namespace tandem::l7::dns
