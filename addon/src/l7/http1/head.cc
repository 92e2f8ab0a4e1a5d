// SPDX-License-Identifier: Apache-2.0
#include "l7/http1/head.h"

#include "l7/http/text.h"

namespace tandem::l7::http1 {
namespace {

constexpr const char* too_many_bytes = "a head that is too large";
constexpr const char* too_many_fields = "too many header fields";
using http::is_host;
using http::is_token;
using http::is_visible;

constexpr size_t usual_headers = 16;

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Each word of a list, with commas between.
template <typename Each>
void words_of(std::string_view list, Each each) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    each(trim(list.substr(0, comma)));
    list = comma == std::string_view::npos ? "" : list.substr(comma + 1);
  }
}

bool read_length(std::string_view text, uint64_t& out) {
  if (text.empty() || text.size() > 18) return false;
  out = 0;
  for (const char byte : text) {
    if (byte < '0' || byte > '9') return false;
    out = out * 10 + static_cast<uint64_t>(byte - '0');
  }
  return true;
}

struct Fields {
  std::string_view host, length, coding, expect;
  int hosts = 0, lengths = 0, codings = 0, expects = 0;
  bool close = false, keep_alive = false, upgrade = false, h2c = false, has_upgrade = false;
};

const char* read_version(std::string_view text, int& minor) {
  if (text == "HTTP/1.1") minor = 1;
  else if (text == "HTTP/1.0") minor = 0;
  else if (text == "HTTP/2.0") return "HTTP/2 without its preface";
  else return "a version that is neither HTTP/1.0 nor HTTP/1.1";
  return nullptr;
}

// All field lines of a head, from `at` to its empty line.
const char* read_fields(std::string_view head, size_t at, const Limits& limits, std::vector<http::Header>& headers, Fields& fields) {
  headers.reserve(usual_headers);
  while (at + 2 < head.size()) {
    const size_t end = head.find("\r\n", at);
    http::Header header;
    const std::string_view line = head.substr(at, end - at);
    if (const char* refused = read_field(line, header)) return refused;
    // Allowed as they are (RFC 9110 5.6.3), but there are readers that take "chunked" with a tab for another word.
    const bool is_blank_behind = line.back() == ' ' || line.back() == '\t';
    if (is_framing(header.name) && (is_blank_behind || line.find('\t') != std::string_view::npos))
      return "blanks around a value that frames the message";
    if (headers.size() >= limits.headers) return too_many_fields;
    headers.push_back(header);
    at = end + 2;
    const auto& [name, value] = header;
    if (same_word(name, "host")) {
      fields.host = value;
      fields.hosts++;
    } else if (same_word(name, "content-length")) {
      fields.length = value;
      fields.lengths++;
    } else if (same_word(name, "transfer-encoding")) {
      fields.coding = value;
      fields.codings++;
    } else if (same_word(name, "expect")) {
      fields.expect = value;
      fields.expects++;
    } else if (same_word(name, "upgrade")) {
      fields.has_upgrade = true;
      words_of(value, [&](std::string_view word) { fields.h2c |= same_word(word, "h2c"); });
    } else if (same_word(name, "connection")) {
      const char* refused = nullptr;
      words_of(value, [&](std::string_view word) {
        if (same_word(word, "close")) fields.close = true;
        else if (same_word(word, "keep-alive")) fields.keep_alive = true;
        else if (same_word(word, "upgrade")) fields.upgrade = true;
        else if (is_framing(word)) refused = "Connection names a field that frames the message";
      });
      if (refused != nullptr) return refused;
    }
  }
  return nullptr;
}

// Of either kind of message; until_close is not decided here.
const char* frame(const Fields& fields, int minor, Framing& framing, uint64_t& length) {
  if (fields.codings > 0) {
    if (fields.lengths > 0) return "both Content-Length and Transfer-Encoding";
    if (minor == 0) return "Transfer-Encoding in HTTP/1.0";
    if (fields.codings > 1 || !same_word(fields.coding, "chunked")) return "a Transfer-Encoding other than chunked";
    framing = Framing::chunked;
    return nullptr;
  }
  if (fields.lengths == 0) return nullptr;
  if (fields.lengths > 1) return "more than one Content-Length";
  if (!read_length(fields.length, length)) return "a Content-Length that is no number";
  framing = Framing::length;
  return nullptr;
}

const char* read_target(RequestHead& out, const Fields& fields) {
  out.authority = fields.host;
  out.path = out.target;
  if (out.method == "CONNECT") {
    if (out.target.find(':') == std::string_view::npos || !is_host(out.target)) return "CONNECT without host and port";
    if (fields.hosts > 0 && out.target != fields.host) return "CONNECT to another host than Host says";
    out.authority = out.target;
    return nullptr;
  }
  if (out.target == "*") return out.method == "OPTIONS" ? nullptr : "the target * of a method other than OPTIONS";
  if (out.target[0] == '/') return nullptr;
  constexpr std::string_view scheme = "http://";
  if (out.target.size() <= scheme.size() || !same_word(out.target.substr(0, scheme.size()), scheme)) return "a target in no form of HTTP";
  const std::string_view rest = out.target.substr(scheme.size());
  const size_t slash = rest.find_first_of("/?#");
  const std::string_view authority = rest.substr(0, slash);
  if (authority != fields.host) return "an absolute target for another host than Host says";
  if (slash != std::string_view::npos && rest[slash] != '/') return "an absolute target without a path";
  out.path = slash == std::string_view::npos ? "/" : rest.substr(slash);
  return nullptr;
}

}  // namespace

bool same_word(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (size_t at = 0; at < a.size(); at++) {
    const char byte = a[at];
    if ((byte >= 'A' && byte <= 'Z' ? byte + 32 : byte) != lower[at]) return false;
  }
  return true;
}

bool is_framing(std::string_view name) {
  return same_word(name, "content-length") || same_word(name, "transfer-encoding") || same_word(name, "host") || same_word(name, "trailer");
}

bool is_of_limits(const char* reason) { return reason == too_many_bytes || reason == too_many_fields; }

size_t find_end(std::string_view bytes, size_t& scanned, const Limits& limits, const char*& refused) {
  for (size_t at = bytes.find('\n', scanned); at != std::string_view::npos; at = bytes.find('\n', at + 1)) {
    if (at == 0 || bytes[at - 1] != '\r') {
      refused = "a line that ends without CR";
      return 0;
    }
    if (at >= 3 && bytes[at - 2] == '\n' && bytes[at - 3] == '\r') {
      if (at + 1 > limits.head) refused = too_many_bytes;
      return refused == nullptr ? at + 1 : 0;
    }
  }
  scanned = bytes.size();
  if (bytes.size() > limits.head) refused = too_many_bytes;
  return 0;
}

const char* read_field(std::string_view line, http::Header& out) {
  if (!line.empty() && (line[0] == ' ' || line[0] == '\t')) return "a folded header line";
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return "a header line without a colon";
  out.name = line.substr(0, colon);
  if (!out.name.empty() && (out.name.back() == ' ' || out.name.back() == '\t')) return "whitespace before the colon of a header";
  if (!is_token(out.name)) return "a character that no header's name may have";
  out.value = trim(line.substr(colon + 1));
  for (const char byte : out.value) {
    const auto code = static_cast<unsigned char>(byte);
    if ((code < 0x20 && byte != '\t') || code == 0x7f) return "a control character in a header's value";
  }
  return nullptr;
}

const char* read_request(std::string_view head, const Limits& limits, RequestHead& out) {
  const size_t end = head.find("\r\n");
  const std::string_view line = head.substr(0, end);
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return "a request line that has not three words";
  out.method = line.substr(0, first);
  out.target = line.substr(first + 1, last - first - 1);
  if (!is_token(out.method)) return "a character that no method may have";
  if (out.target.empty()) return "a request without a target";
  if (!is_visible(out.target)) return "a character that no target may have";
  if (const char* refused = read_version(line.substr(last + 1), out.minor)) return refused;
  Fields fields;
  if (const char* refused = read_fields(head, end + 2, limits, out.headers, fields)) return refused;
  if (fields.hosts > 1) return "more than one Host";
  if (fields.hosts == 0 && out.minor == 1) return "no Host";
  if (!is_host(fields.host)) return "a character that no host may have";
  if (const char* refused = read_target(out, fields)) return refused;
  if (const char* refused = frame(fields, out.minor, out.framing, out.length)) return refused;
  if (out.method == "CONNECT" && out.framing != Framing::none) return "a CONNECT with a body";
  if (fields.expects > 0) {
    if (fields.expects > 1 || !same_word(fields.expect, "100-continue")) return "an expectation other than 100-continue";
    out.expects_continue = out.minor == 1;
  }
  out.h2c = fields.h2c;
  out.upgrades = fields.upgrade && fields.has_upgrade && !fields.h2c;
  out.keep_alive = out.minor == 1 ? !fields.close : fields.keep_alive && !fields.close;
  return nullptr;
}

const char* read_response(std::string_view head, const Limits& limits, std::string_view request_method, ResponseHead& out) {
  const size_t end = head.find("\r\n");
  const std::string_view line = head.substr(0, end);
  if (line.size() < 12 || line[8] != ' ' || (line.size() > 12 && line[12] != ' ')) return "a status line in no form of HTTP";
  if (const char* refused = read_version(line.substr(0, 8), out.minor)) return refused;
  for (size_t at = 9; at < 12; at++) {
    if (line[at] < '0' || line[at] > '9') return "a status that is no number";
    out.status = out.status * 10 + (line[at] - '0');
  }
  if (out.status < 100) return "a status below 100";
  for (const char byte : line.substr(12)) {
    const auto code = static_cast<unsigned char>(byte);
    if ((code < 0x20 && byte != '\t') || code == 0x7f) return "a control character in the reason of a status";
  }
  Fields fields;
  if (const char* refused = read_fields(head, end + 2, limits, out.headers, fields)) return refused;
  if (const char* refused = frame(fields, out.minor, out.framing, out.length)) return refused;
  out.keep_alive = out.minor == 1 ? !fields.close : fields.keep_alive && !fields.close;
  // RFC 9112 6.3, in its order.
  if (request_method == "HEAD" || out.status < 200 || out.status == 204 || out.status == 304) {
    out.framing = Framing::none;
  } else if (out.framing == Framing::none) {
    out.framing = Framing::until_close;
    out.keep_alive = false;
  }
  return nullptr;
}

}  // namespace tandem::l7::http1
