// SPDX-License-Identifier: Apache-2.0
// Sockets with options that Node has not, made in any network namespace and handed over as descriptors; namespace cookies
// and sysctls.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "napi/convert.h"
#include "napi/work.h"
#include "netns/netns.h"
#include "bpf/state.h"
#include "socket/bind.h"
#include "socket/diag.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace tandem {
namespace {

using Napi::CallbackInfo;
using Napi::Env;
using Napi::Value;

socklen_t make_address(const Bytes& address, uint16_t port, sockaddr_storage& out) {
  out = {};
  if (address.size() == 4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    memcpy(&v4.sin_addr, address.data(), 4);
    return sizeof(v4);
  }
  if (address.size() != 16) bad_argument("address must be 4 or 16 bytes");
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  memcpy(&v6.sin6_addr, address.data(), 16);
  return sizeof(v6);
}

// An IPv4 peer of a dual-stack socket (::ffff:a.b.c.d) is an IPv4 address.
std::pair<Bytes, uint16_t> split_address(const sockaddr_storage& from) {
  if (from.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(from);
    const auto* raw = reinterpret_cast<const uint8_t*>(&v4.sin_addr);
    return {Bytes(raw, raw + 4), ntohs(v4.sin_port)};
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(from);
  const auto* raw = reinterpret_cast<const uint8_t*>(&v6.sin6_addr);
  return {Bytes(raw + (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) ? 12 : 0), raw + 16), ntohs(v6.sin6_port)};
}

void set_option(int fd, int level, int option, int value, const char* name) {
  if (setsockopt(fd, level, option, &value, sizeof(value))) throw Failure(errno, std::string("set ") + name + " on", "socket " + std::to_string(fd));
}

std::string socket_text(int fd) { return "socket " + std::to_string(fd); }

// AF_*; Failure when it is no socket.
int domain_of(int fd, const char* operation) {
  int family = 0;
  socklen_t length = sizeof(family);
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length)) throw Failure(errno, operation, socket_text(fd));
  return family;
}

void make_transparent(int fd) {
  int family = domain_of(fd, "set IP_TRANSPARENT on");
  if (family == AF_INET6) set_option(fd, SOL_IPV6, IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT");
  set_option(fd, SOL_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT");
}

struct SocketRequest {
  bool tcp, transparent, reuse_port;
  Bytes address;
  uint16_t port;
  int64_t mark, listen;  // -1: not set
};

std::pair<int, uint16_t> open_one(const SocketRequest& request) {
  sockaddr_storage address;
  socklen_t length = make_address(request.address, request.port, address);
  Descriptor fd(socket(address.ss_family, (request.tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0) throw Failure(errno, "open", request.tcp ? "TCP socket" : "UDP socket");
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
  // One family a socket: what listens on :: leaves 0.0.0.0 to another.
  if (address.ss_family == AF_INET6) set_option(fd.get(), SOL_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
  if (request.reuse_port) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
  if (request.transparent) make_transparent(fd.get());
  if (request.mark >= 0) set_option(fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(request.mark), "SO_MARK");
  char text[INET6_ADDRSTRLEN] = "?";
  inet_ntop(address.ss_family, request.address.data(), text, sizeof(text));
  const std::string object = (request.tcp ? "TCP " : "UDP ") + std::string(text) + " port " + std::to_string(request.port);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length)) throw Failure(errno, "bind", object);
  if (request.listen >= 0 && listen(fd.get(), static_cast<int>(request.listen))) throw Failure(errno, "listen on", object);
  length = sizeof(address);
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length)) throw Failure(errno, "read address of", object);
  return {fd.release(), split_address(address).second};
}

int64_t optional_number(const Value& value, const char* what, uint32_t most) {
  return value.IsNull() || value.IsUndefined() ? -1 : int64_t{to_u32(value, what, most)};
}

bool is_tcp(const Value& value) {
  std::string type = to_string(value, "type");
  if (type != "tcp" && type != "udp") bad_argument("type must be tcp or udp");
  return type == "tcp";
}

Value open_socket(const CallbackInfo& info) {
  auto options = to_object(info[1], "options");
  SocketRequest request{is_tcp(options.Get("type")),
                        to_bool(options.Get("transparent"), "transparent"),
                        to_bool(options.Get("reusePort"), "reusePort"),
                        to_bytes(options.Get("address"), "address"),
                        static_cast<uint16_t>(to_u32(options.Get("port"), "port", UINT16_MAX)),
                        optional_number(options.Get("mark"), "mark", UINT32_MAX),
                        optional_number(options.Get("listen"), "listen", INT32_MAX)};
  if (request.address.size() != 4 && request.address.size() != 16) bad_argument("address must be 4 or 16 bytes");
  using Opened = std::pair<int, uint16_t>;
  return promise_of<Opened>(
      info.Env(),
      [netns = to_optional_string(info[0], "netns"), request] {
        Opened opened;
        in_netns(netns, [&] { opened = open_one(request); });
        return opened;
      },
      [](Env env, Opened& opened) -> Value {
        auto result = Napi::Object::New(env);
        result.Set("fd", opened.first);
        result.Set("port", opened.second);
        return result;
      });
}

Value set_mark(const CallbackInfo& info) {
  set_option(to_fd(info[0]), SOL_SOCKET, SO_MARK, static_cast<int>(to_u32(info[1], "mark")), "SO_MARK");
  return info.Env().Undefined();
}

Value set_transparent(const CallbackInfo& info) {
  make_transparent(to_fd(info[0]));
  return info.Env().Undefined();
}

constexpr int ip6t_so_original_dst = 80;  // linux/netfilter_ipv6/ip6_tables.h

Value original_destination(const CallbackInfo& info) {
  const int fd = to_fd(info[0]);
  const char* operation = "read original destination of";
  const int family = domain_of(fd, operation);
  if (family != AF_INET && family != AF_INET6) throw Failure(EAFNOSUPPORT, operation, socket_text(fd));
  sockaddr_storage own{}, address{};
  socklen_t length = sizeof(own);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length)) throw Failure(errno, operation, socket_text(fd));
  const bool v6 = family == AF_INET6 && split_address(own).first.size() == 16;
  // A NAT rule keeps it for SO_ORIGINAL_DST; a transparently accepted connection has it as its own address.
  length = sizeof(address);
  if (getsockopt(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? ip6t_so_original_dst : SO_ORIGINAL_DST, &address, &length)) address = own;
  auto [bytes, port] = split_address(address);
  auto result = Napi::Object::New(info.Env());
  result.Set("address", from_bytes(info.Env(), bytes));
  result.Set("port", port);
  return result;
}

Value close_fd(const CallbackInfo& info) {
  const int fd = to_fd(info[0]);
  if (close(fd)) throw Failure(errno, "close", "descriptor " + std::to_string(fd));
  return info.Env().Undefined();
}

Value peer_credentials(const CallbackInfo& info) {
  const int fd = to_fd(info[0]);
  const char* operation = "read credentials of";
  // other families answer with pid 0 and an uid that nobody has
  if (domain_of(fd, operation) != AF_UNIX) throw Failure(EAFNOSUPPORT, operation, socket_text(fd), "it is not a unix socket");
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length)) throw Failure(errno, operation, socket_text(fd));
  auto result = Napi::Object::New(info.Env());
  result.Set("pid", credentials.pid);
  result.Set("uid", credentials.uid);
  result.Set("gid", credentials.gid);
  return result;
}

Value netns_cookie(const CallbackInfo& info) {
  return promise_of<uint64_t>(
      info.Env(),
      [netns = to_optional_string(info[0], "netns")] {
        uint64_t cookie = 0;
        in_netns(netns, [&] {
          Descriptor fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
          socklen_t length = sizeof(cookie);
          if (fd.get() < 0 || getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length))
            throw Failure(errno, "read cookie of", netns.empty() ? "own network namespace" : netns);
        });
        return cookie;
      },
      [](Env env, uint64_t& cookie) -> Value { return Napi::BigInt::New(env, cookie); });
}

std::vector<DiagTarget> to_targets(const Value& value) {
  auto array = to_array(value, "targets");
  std::vector<DiagTarget> targets;
  for (uint32_t i = 0; i < array.Length(); i++) {
    auto entry = to_object(array.Get(i), "targets[]");
    Bytes address = to_bytes(entry.Get("address"), "address");
    DiagTarget target{};
    if (address.size() != target.address.size()) bad_argument("address must be 16 bytes");
    std::copy(address.begin(), address.end(), target.address.begin());
    target.port = static_cast<uint16_t>(to_u32(entry.Get("port"), "port", UINT16_MAX));
    bool whole = false;
    if (entry.Get("cookie").IsBigInt()) target.cookie = entry.Get("cookie").As<Napi::BigInt>().Uint64Value(&whole);
    if (!whole) bad_argument("cookie must be a bigint of 64 bits");
    targets.push_back(target);
  }
  return targets;
}

Value connected_sockets(const CallbackInfo& info) {
  using Keys = std::vector<sock_reverse_key>;
  return promise_of<Keys>(
      info.Env(),
      [netns = to_optional_string(info[0], "netns")] {
        Keys keys;
        in_netns(netns, [&] { keys = connected_datagram_sockets(); });
        return keys;
      },
      [](Env env, Keys& keys) -> Value { return from_bytes(env, keys.data(), keys.size() * sizeof(sock_reverse_key)); });
}

Value destroy_sockets(const CallbackInfo& info) {
  return promise_of<uint32_t>(
      info.Env(),
      [netns = to_optional_string(info[0], "netns"), targets = to_targets(info[1])] {
        uint32_t destroyed = 0;
        in_netns(netns, [&] { destroyed = destroy_datagram_sockets(targets); });
        return destroyed;
      },
      [](Env env, uint32_t& destroyed) -> Value { return Napi::Number::New(env, destroyed); });
}

Value write_sysctls(const CallbackInfo& info) {
  std::vector<std::pair<std::string, std::string>> values;
  auto array = to_array(info[1], "values");
  for (uint32_t i = 0; i < array.Length(); i++) {
    auto entry = to_object(array.Get(i), "values[]");
    std::string path = to_string(entry.Get("name"), "name");
    if (path.find('/') == std::string::npos) std::replace(path.begin(), path.end(), '.', '/');  // a device with a dot: give it with slashes
    values.emplace_back("/proc/sys/" + path, to_string(entry.Get("value"), "value"));
  }
  return promise_of_nothing(info.Env(), [netns = to_optional_string(info[0], "netns"), values = std::move(values)] {
    in_netns(netns, [&] {
      // /proc/sys/net shows the namespace of the thread that opens it
      for (const auto& [path, value] : values) {
        Descriptor fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
        if (fd.get() < 0) throw Failure(errno, "open sysctl", path);
        if (write(fd.get(), value.data(), value.size()) < 0) throw Failure(errno, "write " + value + " to sysctl", path);
      }
    });
  });
}

}  // namespace

void bind_socket(Napi::Object exports) {
  define_async<open_socket>(exports, "openSocket");
  define<set_mark>(exports, "setSocketMark");
  define<set_transparent>(exports, "setTransparent");
  define<original_destination>(exports, "originalDestination");
  define<close_fd>(exports, "closeFd");
  define<peer_credentials>(exports, "peerCredentials");
  define_async<netns_cookie>(exports, "netnsCookie");
  define_async<write_sysctls>(exports, "writeSysctls");
  define_async<connected_sockets>(exports, "connectedDatagramSockets");
  define_async<destroy_sockets>(exports, "destroyDatagramSockets");
}

}  // namespace tandem
