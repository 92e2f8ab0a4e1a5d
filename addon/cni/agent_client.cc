#include "agent_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "descriptor.h"

namespace tandem {
namespace {

constexpr std::size_t kMaxReply = (1u << 20) + 16384;

long long now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

// "" when the socket is ready for `events`, else why not.
std::string wait_for(int fd, short events, long long deadline) {
  for (;;) {
    const long long left = deadline - now_ms();
    if (left <= 0) return "no answer in time";
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(left));
    if (ready > 0) return "";
    if (ready < 0 && errno != EINTR) return std::string("poll: ") + std::strerror(errno);
  }
}

std::string send_all(int fd, const std::string &data, long long deadline) {
  std::size_t sent = 0;
  while (sent < data.size()) {
    const ssize_t n = ::send(fd, data.data() + sent, data.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      const std::string problem = wait_for(fd, POLLOUT, deadline);
      if (!problem.empty()) return problem;
    } else if (errno != EINTR) {
      return std::string("send: ") + std::strerror(errno);
    }
  }
  return "";
}

// The value of a header, trimmed and in lower case; `name` in lower case.
std::string header(const std::string &head, const std::string &name) {
  std::string lower = head;
  for (char &c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  const std::size_t start = lower.find("\r\n" + name + ":");
  if (start == std::string::npos) return "";
  const std::size_t from = lower.find_first_not_of(" \t", start + name.size() + 3);
  const std::size_t to = lower.find("\r\n", start + 2);
  return from == std::string::npos || from >= to ? "" : lower.substr(from, to - from);
}

// Decodes a chunked body (RFC 9112, section 7.1). True when the last chunk is there.
bool decode_chunks(const std::string &raw, std::string *body) {
  body->clear();
  for (std::size_t at = 0;;) {
    const std::size_t line = raw.find("\r\n", at);
    if (line == std::string::npos) return false;
    const unsigned long size = std::strtoul(raw.c_str() + at, nullptr, 16);
    if (size == 0) return true;
    if (size > kMaxReply || line + 2 + size + 2 > raw.size()) return false;
    body->append(raw, line + 2, size);
    at = line + 2 + size + 2;
  }
}

// True when `raw` holds a whole reply; `ended`: the peer will send no more.
bool parse(const std::string &raw, bool ended, Reply *reply) {
  const std::size_t end = raw.find("\r\n\r\n");
  if (end == std::string::npos || raw.compare(0, 9, "HTTP/1.1 ") != 0) return false;
  const std::string head = raw.substr(0, end + 2);
  reply->status = std::atoi(raw.c_str() + 9);
  const std::string rest = raw.substr(end + 4);
  if (header(head, "transfer-encoding") == "chunked") return decode_chunks(rest, &reply->body);
  const std::string length = header(head, "content-length");
  if (length.empty()) {
    reply->body = rest;
    return ended;
  }
  const unsigned long expected = std::strtoul(length.c_str(), nullptr, 10);
  reply->body = rest.substr(0, expected);
  return rest.size() >= expected;
}

Reply failure(Reply::Outcome outcome, const std::string &problem) {
  Reply reply;
  reply.outcome = outcome;
  reply.problem = problem;
  return reply;
}

}  // namespace

Reply post(const std::string &socket, const std::string &path, const std::string &body, int timeout_ms) {
  const long long deadline = now_ms() + timeout_ms;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof(address.sun_path)) {
    return failure(Reply::Outcome::unreachable, "the path is longer than a unix socket's may be");
  }
  std::memcpy(address.sun_path, socket.data(), socket.size());
  const Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return failure(Reply::Outcome::unreachable, std::string("socket: ") + std::strerror(errno));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket.size() + 1);
  // Blocks only while the listener's backlog is full; then EAGAIN after the time-out below.
  const timeval limit{timeout_ms / 1000, (timeout_ms % 1000) * 1000};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr *>(&address), length) != 0) {
    return failure(Reply::Outcome::unreachable, std::string("connect: ") + std::strerror(errno));
  }
  const std::string request = "POST " + path + " HTTP/1.1\r\nHost: tandem\r\nContent-Type: application/json\r\n" +
                              "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  const std::string unsent = send_all(fd.get(), request, deadline);
  if (!unsent.empty()) return failure(Reply::Outcome::broken, unsent);

  Reply reply;
  std::string raw;
  char buffer[16384];
  for (;;) {
    const std::string problem = wait_for(fd.get(), POLLIN, deadline);
    if (!problem.empty()) return failure(Reply::Outcome::broken, problem);
    const ssize_t n = ::recv(fd.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0) return failure(Reply::Outcome::broken, std::string("recv: ") + std::strerror(errno));
    raw.append(buffer, static_cast<std::size_t>(n));
    if (raw.size() > kMaxReply) return failure(Reply::Outcome::broken, "the reply is larger than 1 MiB");
    if (parse(raw, n == 0, &reply)) {
      reply.outcome = Reply::Outcome::answered;
      return reply;
    }
    if (n == 0) return failure(Reply::Outcome::broken, "the connection ended before the reply did");
  }
}

}  // namespace tandem
