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

std::pair<Bytes, uint16_t> split_address(const sockaddr_storage& from) {
  if (from.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(from);
    const auto* raw = reinterpret_cast<const uint8_t*>(&v4.sin_addr);
    return {Bytes(raw, raw + 4), ntohs(v4.sin_port)};
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(from);
  const auto* raw = reinterpret_cast<const uint8_t*>(&v6.sin6_addr);
  return {Bytes(raw, raw + 16), ntohs(v6.sin6_port)};
}

void set_option(int fd, int level, int option, int value, const char* name) {
  if (setsockopt(fd, level, option, &value, sizeof(value))) throw Failure(errno, std::string("set ") + name + " on", "socket " + std::to_string(fd));
}

void make_transparent(int fd) {
  int family = 0;
  socklen_t length = sizeof(family);
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
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
  if (request.reuse_port) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
  if (request.transparent) make_transparent(fd.get());
  if (request.mark >= 0) set_option(fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(request.mark), "SO_MARK");
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length)) {
    char text[INET6_ADDRSTRLEN] = "?";
    inet_ntop(address.ss_family, request.address.data(), text, sizeof(text));
    throw Failure(errno, "bind", std::string(text) + " port " + std::to_string(request.port));
  }
  if (request.listen >= 0 && listen(fd.get(), static_cast<int>(request.listen))) throw Failure(errno, "listen on", "socket");
  length = sizeof(address);
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length)) throw Failure(errno, "read address of", "socket");
  return {fd.release(), split_address(address).second};
}

int64_t optional_number(const Value& value, const char* what) { return value.IsNull() || value.IsUndefined() ? -1 : to_u32(value, what); }

Value open_socket(const CallbackInfo& info) {
  auto options = to_object(info[1], "options");
  SocketRequest request{to_string(options.Get("type"), "type") == "tcp",
                        to_bool(options.Get("transparent"), "transparent"),
                        to_bool(options.Get("reusePort"), "reusePort"),
                        to_bytes(options.Get("address"), "address"),
                        static_cast<uint16_t>(to_u32(options.Get("port"), "port")),
                        optional_number(options.Get("mark"), "mark"),
                        optional_number(options.Get("listen"), "listen")};
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
  set_option(static_cast<int>(to_u32(info[0], "fd")), SOL_SOCKET, SO_MARK, static_cast<int>(to_u32(info[1], "mark")), "SO_MARK");
  return info.Env().Undefined();
}

Value set_transparent(const CallbackInfo& info) {
  make_transparent(static_cast<int>(to_u32(info[0], "fd")));
  return info.Env().Undefined();
}

Value original_destination(const CallbackInfo& info) {
  int fd = static_cast<int>(to_u32(info[0], "fd"));
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  // A NAT rule keeps it for SO_ORIGINAL_DST; a transparent socket has it as its own address.
  if (getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &address, &length)) {
    length = sizeof(address);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length)) throw Failure(errno, "read original destination of", "socket " + std::to_string(fd));
  }
  auto [bytes, port] = split_address(address);
  auto result = Napi::Object::New(info.Env());
  result.Set("address", from_bytes(info.Env(), bytes));
  result.Set("port", port);
  return result;
}

Value close_fd(const CallbackInfo& info) {
  if (close(static_cast<int>(to_u32(info[0], "fd")))) throw Failure(errno, "close", "descriptor");
  return info.Env().Undefined();
}

Value peer_credentials(const CallbackInfo& info) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (getsockopt(static_cast<int>(to_u32(info[0], "fd")), SOL_SOCKET, SO_PEERCRED, &credentials, &length))
    throw Failure(errno, "read credentials of", "unix socket");
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
  define<open_socket>(exports, "openSocket");
  define<set_mark>(exports, "setSocketMark");
  define<set_transparent>(exports, "setTransparent");
  define<original_destination>(exports, "originalDestination");
  define<close_fd>(exports, "closeFd");
  define<peer_credentials>(exports, "peerCredentials");
  define<netns_cookie>(exports, "netnsCookie");
  define<write_sysctls>(exports, "writeSysctls");
}

}  // namespace tandem
