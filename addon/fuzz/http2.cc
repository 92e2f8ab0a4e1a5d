// SPDX-License-Identifier: Apache-2.0
// HTTP/2 with any frames of both sides. What has to hold:
// - the server gets a preface and whole frames, whose heads (unpacked by HPACK alone) are for paths below /ok, without a second host, and without
//   what HTTP/1 frames messages by; bodies only of streams that it has a head of;
// - a connection holds a bounded part of what came.
// Frames that come together are judged before what they led to is written, so what is told of a stream may depend on that; what passes may not break
// the laws either way.
#include <nghttp2/nghttp2.h>

#include <memory>
#include <set>

#include "l7/http/filter.h"
#include "l7/runner.h"
#include "laws.h"

namespace {

using namespace tandem::l7;
using tandem::fuzz::hold;
using tandem::fuzz::http_demands;

const Limits limits;
const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string frame(unsigned type, unsigned flags, uint32_t stream, std::string_view payload) {
  std::string out;
  out.reserve(9 + payload.size());
  for (int shift = 16; shift >= 0; shift -= 8) out += static_cast<char>(payload.size() >> shift);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(stream >> shift);
  return out.append(payload);
}

// A literal that leaves the tables alone.
void add_field(std::string& block, std::string_view name, std::string_view value) {
  block += '\0';
  block += static_cast<char>(name.size());
  block += name;
  block += static_cast<char>(value.size());
  block += value;
}

constexpr std::string_view paths[] = {"/ok", "/no", "/ok/../no", "/ok%2f..", "*", "/ok?a", "/%6fk", "ok"};
constexpr std::string_view names[] = {"x-a", "host", "content-length", "transfer-encoding", "connection", "te", "cookie", "X-A", ":path", "content-type",
                             "", "a b", "expect", "upgrade", ":authority", ":protocol"};
constexpr std::string_view values[] = {"a", "5", "0", "chunked", "trailers", "other", "a\r\nb: c", "", "application/grpc", "100-continue"};

std::string request(tandem::fuzz::Input& input) {
  const unsigned shape = input.next();
  std::string block;
  block.reserve(256);
  add_field(block, ":method", shape & 1 ? "POST" : shape & 2 ? "CONNECT" : "GET");
  add_field(block, ":scheme", "http");
  add_field(block, ":authority", "web");
  add_field(block, ":path", paths[input.next() % 8]);
  for (unsigned left = (shape >> 2) % 4; left > 0; left--) {
    const unsigned which = input.next();
    add_field(block, names[which % 16], values[input.next() % 10]);
  }
  return block;
}

std::string status(std::string_view code) {
  std::string block;
  add_field(block, ":status", code);
  return block;
}

void check(const std::string& out) {
  if (out.empty()) return;
  hold(out.compare(0, preface.size(), preface) == 0, "a connection begins with the preface");
  nghttp2_hd_inflater* inflater = nullptr;
  nghttp2_hd_inflate_new(&inflater);
  std::set<uint32_t> heads;
  size_t at = preface.size();
  const auto byte = [&](size_t where) { return static_cast<unsigned char>(out[where]); };
  while (at < out.size()) {
    hold(out.size() - at >= 9, "whole frames");
    const size_t length = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
    const unsigned type = byte(at + 3), flags = byte(at + 4);
    const uint32_t stream = static_cast<uint32_t>(byte(at + 5)) << 24 | byte(at + 6) << 16 | byte(at + 7) << 8 | byte(at + 8);
    hold(out.size() - at >= 9 + length, "whole frames");
    if (type == 0) hold(heads.count(stream) == 1, "bodies only behind their heads");
    if (type == 1) {
      hold(flags & 4, "heads in one frame, as these are small");
      const bool is_trailer = !heads.insert(stream).second;
      unsigned hosts = 0, seen = 0;
      const uint8_t* next = reinterpret_cast<const uint8_t*>(out.data()) + at + 9;
      size_t left = length;
      for (int done = 0; !(done & NGHTTP2_HD_INFLATE_FINAL);) {
        nghttp2_nv pair;
        const ssize_t taken = nghttp2_hd_inflate_hd2(inflater, &pair, &done, next, left, 1);
        hold(taken >= 0, "heads unpack");
        next += taken;
        left -= static_cast<size_t>(taken);
        if (!(done & NGHTTP2_HD_INFLATE_EMIT)) {
          if (taken == 0 && left == 0) break;
          continue;
        }
        const std::string_view name(reinterpret_cast<char*>(pair.name), pair.namelen), value(reinterpret_cast<char*>(pair.value), pair.valuelen);
        hold(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos, "no line ends in values");
        hold(name != "transfer-encoding" && name != "connection" && name != "upgrade" && name != ":protocol", "no fields of HTTP/1's framing");
        if (name == ":path") {
          seen++;
          const std::string_view path = value.substr(0, value.find('?'));
          hold(path.substr(0, 3) == "/ok" && path.find("/..") == std::string_view::npos, "only paths that a rule allows");
        }
        if (name == "host" || name == ":authority") {
          hosts++;
          hold(value == "web", "one host");
        }
      }
      nghttp2_hd_inflate_end_headers(inflater);
      hold(is_trailer ? seen == 0 && hosts == 0 : seen == 1 && hosts <= 2, "one path in a head, none in trailers");
    }
    at += 9 + length;
  }
  nghttp2_hd_inflate_del(inflater);
}

std::unique_ptr<Runner> start() {
  auto runner = std::make_unique<Runner>(http_demands());
  runner->use(std::make_unique<http::HttpFilter>(limits, http::JudgeOptions{}));
  return runner;
}

std::string next_frame(tandem::fuzz::Input& input, bool is_server) {
  const unsigned step = input.next();
  const uint32_t stream = 1 + 2 * (input.next() % 8);
  const unsigned flags = input.next();
  switch (step % 8) {
    case 0:
      return std::string(input.take(1 + input.next() % 64));
    case 1:
      return frame(0, flags & 1, stream, input.take(input.next() % 32));
    case 2:
      return frame(3, 0, stream, std::string(3, '\0') + static_cast<char>(input.next() % 14));
    case 3:
      return frame(8, 0, flags & 1 ? stream : 0, input.take(4));
    case 4:
      return frame(input.next(), flags, flags & 1 ? stream : 0, input.take(input.next() % 32));
    case 5:
      return is_server ? frame(1, 4 | (flags & 1), stream, status(flags & 2 ? "200" : "103")) : frame(4, flags & 1, 0, "");
    default:
      return is_server ? frame(4, flags & 1, 0, "") : frame(1, 4 | (flags & 1), stream, request(input));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::fuzz::Input input(data, size);
  tandem::fuzz::Draw draw(data, size);
  tandem::fuzz::Length length(draw);
  const auto play = start();
  std::string sent = preface + frame(4, 0, 0, "");
  play->feed(Side::client, sent);
  while (!input.is_over() && sent.size() < 8192 && !length.is_reached(*play)) {
    const bool is_server = input.next() % 4 == 3;
    const std::string bytes = next_frame(input, is_server);
    play->feed(is_server ? Side::server : Side::client, bytes);
    if (!is_server) sent += bytes;
  }
  // A connection that is made anew begins a new stream of frames.
  if (play->out(Side::server).connections <= 1) check(play->out(Side::server).bytes);
  hold(play->filter().memory() < 8 << 20, "a connection holds a bounded part");
  // All at once: nothing that one frame led to is written before the next one is read. Of one input in four, as sessions cost most.
  if (draw.next(4) != 0) return 0;
  const auto whole = start();
  whole->feed(Side::client, sent);
  check(whole->out(Side::server).bytes);
  return 0;
}
