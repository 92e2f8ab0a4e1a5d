// SPDX-License-Identifier: Apache-2.0
#include "probe/prober.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <unordered_map>

#include "bpf/state.h"
#include "napi/failure.h"
#include "netns/netns.h"
#include "probe/filter.h"
#include "probe/watches.h"

namespace tandem {
namespace {

constexpr uint64_t ms = 1'000'000;
// A connection that stands by then no longer says anything of the path; whoever asked has given up.
constexpr uint64_t tcp_limit_ns = 2'000 * ms;
// Answers wait this long for more, so that JavaScript is called for many of them at once. How long they took is known by then, and a miss takes 600 ms.
constexpr uint64_t gather_ns = 20 * ms;
constexpr size_t most_answers = 1024;
// Under way at once; what is beyond fails with EMFILE.
constexpr size_t most_connections = 4096;

uint64_t now_ns() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

void set(int fd, int level, int option, int value, const char* name) {
  if (setsockopt(fd, level, option, &value, sizeof(value))) throw Failure(errno, std::string("set ") + name + " on", "probing socket");
}

// Whole packets or none, of any size that the device takes: what routers said of the path before is not believed.
Descriptor open_raw(bool v6, uint16_t id) {
  Descriptor fd(socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, v6 ? IPPROTO_ICMPV6 : static_cast<int>(IPPROTO_ICMP)));
  if (fd.get() < 0) throw Failure(errno, "open", v6 ? "raw socket of ICMPv6" : "raw socket of ICMP");
  if (v6) {
    set(fd.get(), SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE, "IPV6_MTU_DISCOVER");
    set(fd.get(), SOL_IPV6, IPV6_DONTFRAG, 1, "IPV6_DONTFRAG");
  } else {
    set(fd.get(), SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER");
  }
  if (!filter_echoes(fd.get(), v6, id)) throw Failure(errno, "filter", v6 ? "raw socket of ICMPv6" : "raw socket of ICMP");
  return fd;
}

socklen_t address_of(const ProbeRequest& request, sockaddr_storage& out) {
  out = {};
  if (!request.v6) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(request.tcp ? request.port : 0);
    memcpy(&v4.sin_addr, request.address.data(), 4);
    return sizeof(v4);
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(request.tcp ? request.port : 0);
  memcpy(&v6.sin6_addr, request.address.data(), 16);
  return sizeof(v6);
}

Descriptor listen_at(bool v6, uint16_t port) {
  Descriptor fd(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // A kernel without IPv6 has nobody to answer there.
  if (fd.get() < 0 && v6 && errno == EAFNOSUPPORT) return fd;
  const std::string object = "TCP port " + std::to_string(port);
  if (fd.get() < 0) throw Failure(errno, "open", object);
  set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
  if (v6) set(fd.get(), SOL_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
  ProbeRequest any{};
  any.tcp = true;
  any.v6 = v6;
  any.port = port;
  sockaddr_storage address;
  const socklen_t length = address_of(any, address);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length)) throw Failure(errno, "bind", object);
  if (listen(fd.get(), 1024)) throw Failure(errno, "listen on", object);
  return fd;
}

}  // namespace

struct Prober::Inner {
  struct Connection {
    Descriptor fd;
    uint16_t sequence;
    uint32_t watch;
    uint64_t sent_ns;
  };

  std::shared_ptr<Sink<ProbeAnswers>> sink;
  Descriptor wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Descriptor epoll{epoll_create1(EPOLL_CLOEXEC)};
  Descriptor netns;
  Descriptor raw4, raw6, listen4, listen6;
  uint16_t id = 0;
  uint64_t cookie = 0;
  std::mutex mutex;  // of the next three
  std::vector<ProbeRequest> queue;
  Watches watches;
  bool stopping = false;
  std::thread thread;
  // Of the thread.
  int netns_error = 0;
  std::unordered_map<int, Connection> connections;
  std::deque<std::pair<uint64_t, int>> deadlines;
  ProbeAnswers answers;
  uint64_t gathered_since = 0;

  void open(uint16_t port) {
    raw4 = open_raw(false, id);
    raw6 = open_raw(true, id);
    if (port == 0) return;
    listen4 = listen_at(false, port);
    listen6 = listen_at(true, port);
  }

  void watch(int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (fd >= 0 && epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event)) throw Failure(errno, "wait for", "probing socket");
  }

  void tell(uint16_t sequence, uint32_t watch, ProbeEvent event, uint32_t value, uint64_t sent_ns, const RawAddress& from = {}) {
    const uint64_t now = now_ns();
    bool large = false;
    if (watch != 0) {
      std::lock_guard<std::mutex> lock(mutex);
      if (watches.answered(watch, event, from, sent_ns, now, large)) return;
    }
    tell_all({sequence, event, large, watch, value, static_cast<uint32_t>((now - sent_ns) / 1000), from}, now);
  }

  void tell_all(const ProbeAnswer& answer, uint64_t now) {
    if (answers.empty()) gathered_since = now;
    answers.push_back(answer);
  }

  void send_echo(const ProbeRequest& request, uint32_t watch, uint64_t sent) {
    auto bytes = make_echo(request.v6, id, request.sequence, request.size, {cookie, sent, watch, 0});
    sockaddr_storage address;
    iovec data{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_name = &address;
    message.msg_namelen = address_of(request, address);
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in6_pktinfo))] = {};
    if (request.ifindex != 0) {
      message.msg_control = control;
      const size_t size = request.v6 ? sizeof(in6_pktinfo) : sizeof(in_pktinfo);
      message.msg_controllen = CMSG_SPACE(size);
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = request.v6 ? SOL_IPV6 : SOL_IP;
      header->cmsg_type = request.v6 ? IPV6_PKTINFO : IP_PKTINFO;
      header->cmsg_len = CMSG_LEN(size);
      in6_pktinfo v6{};
      in_pktinfo v4{};
      v6.ipi6_ifindex = request.ifindex;
      v4.ipi_ifindex = static_cast<int>(request.ifindex);
      memcpy(CMSG_DATA(header), request.v6 ? static_cast<void*>(&v6) : &v4, size);
    }
    if (sendmsg(request.v6 ? raw6.get() : raw4.get(), &message, 0) < 0) tell(request.sequence, watch, ProbeEvent::failed, errno, sent);
  }

  void connect_to(const ProbeRequest& request, uint32_t watch, uint64_t sent) {
    auto fails = [&](int error) { tell(request.sequence, watch, ProbeEvent::failed, static_cast<uint32_t>(error), sent); };
    if (connections.size() >= most_connections) return fails(EMFILE);
    if (netns_error != 0) return fails(netns_error);
    Descriptor fd(socket(request.v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd.get() < 0) return fails(errno);
    const linger reset{1, 0};
    const int index = static_cast<int>(request.ifindex);
    sockaddr_storage address;
    const socklen_t length = address_of(request, address);
    if (setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) ||
        (index != 0 && setsockopt(fd.get(), SOL_SOCKET, SO_BINDTOIFINDEX, &index, sizeof(index))) ||
        (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) && errno != EINPROGRESS))
      return errno == ECONNREFUSED ? tell(request.sequence, watch, ProbeEvent::refused, ECONNREFUSED, sent) : fails(errno);
    epoll_event event{};
    event.events = EPOLLOUT | EPOLLERR | EPOLLHUP;
    event.data.fd = fd.get();
    if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event)) return fails(errno);
    deadlines.emplace_back(sent + tcp_limit_ns, fd.get());
    const int key = fd.get();
    connections.emplace(key, Connection{std::move(fd), request.sequence, watch, sent});
  }

  void settle(int fd) {
    const auto at = connections.find(fd);
    if (at == connections.end()) return;
    const auto& [kept, sequence, watch, sent] = at->second;
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length)) error = errno;
    tell(sequence, watch, error == 0 ? ProbeEvent::accepted : error == ECONNREFUSED ? ProbeEvent::refused : ProbeEvent::failed, error, sent);
    connections.erase(at);
  }

  // Descriptors are used again: an old deadline must not end a younger connection.
  void expire() {
    const uint64_t now = now_ns();
    for (; !deadlines.empty() && deadlines.front().first <= now; deadlines.pop_front()) {
      const auto at = connections.find(deadlines.front().second);
      if (at == connections.end() || at->second.sent_ns + tcp_limit_ns > now) continue;
      tell(at->second.sequence, at->second.watch, ProbeEvent::failed, ETIMEDOUT, at->second.sent_ns);
      connections.erase(at);
    }
  }

  void receive(bool v6) {
    // The beginning says it all; the rest of a large packet is not read.
    uint8_t data[512];
    sockaddr_storage sender{};
    auto read_one = [&] {
      socklen_t length = sizeof(sender);
      return recvfrom(v6 ? raw6.get() : raw4.get(), data, sizeof(data), 0, reinterpret_cast<sockaddr*>(&sender), &length);
    };
    for (ssize_t size; (size = read_one()) > 0;) {
      const auto answer = read_echo(v6, id, cookie, data, static_cast<size_t>(size));
      if (!answer) continue;
      RawAddress from{};
      if (v6)
        memcpy(from.data(), &reinterpret_cast<sockaddr_in6&>(sender).sin6_addr, 16);
      else
        memcpy(from.data(), &reinterpret_cast<sockaddr_in&>(sender).sin_addr, 4);
      tell(answer->sequence, answer->watch, answer->event, answer->mtu, answer->sent_ns, from);
    }
  }

  static void accept_all(int fd) {
    for (int accepted; (accepted = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) close(accepted);
  }

  void send_one(const ProbeRequest& request, uint32_t watch, uint64_t sent) {
    request.tcp ? connect_to(request, watch, sent) : send_echo(request, watch, sent);
  }

  void send_queued() {
    std::vector<ProbeRequest> requests;
    {
      std::lock_guard<std::mutex> lock(mutex);
      requests.swap(queue);
    }
    for (const ProbeRequest& request : requests) send_one(request, 0, now_ns());
  }

  void send_burst() {
    std::vector<WatchTurn> turns;
    {
      std::lock_guard<std::mutex> lock(mutex);
      turns = watches.due(now_ns());
    }
    for (const WatchTurn& turn : turns) {
      const uint64_t sent = now_ns();
      if (turn.silent) {
        tell_all({0, ProbeEvent::silent, turn.large, turn.watch, 0, 0, {}}, sent);
        continue;
      }
      {
        std::lock_guard<std::mutex> lock(mutex);
        watches.asked(turn, sent);
      }
      send_one(turn.request, turn.watch, sent);
    }
  }

  // ms until something is to be done; -1: only when something comes.
  int wait_ms() {
    const uint64_t now = now_ns();
    uint64_t until;
    {
      std::lock_guard<std::mutex> lock(mutex);
      until = watches.next_burst_ns();
    }
    if (!answers.empty()) until = std::min(until, gathered_since + gather_ns);
    if (!deadlines.empty()) until = std::min(until, deadlines.front().first);
    if (until == UINT64_MAX) return -1;
    return until <= now ? 0 : static_cast<int>((until - now) / ms + 1);
  }

  void hand_over() {
    if (answers.empty() || (answers.size() < most_answers && now_ns() < gathered_since + gather_ns)) return;
    if (sink->has_room()) {
      sink->push(std::move(answers));
      answers = {};
      return;
    }
    // Nobody takes them: what they would say is old by then. But who set a watch that has ended must hear of it.
    answers.erase(std::remove_if(answers.begin(), answers.end(), [](const ProbeAnswer& answer) { return answer.watch == 0; }), answers.end());
    gathered_since = now_ns();
  }

  void run() {
    pthread_setname_np(pthread_self(), "tandem-prober");
    // The thread is ours alone, and all of its life in that namespace: connections are made there without a thread for each.
    if (netns.get() >= 0 && setns(netns.get(), CLONE_NEWNET)) netns_error = errno;
    for (;;) {
      epoll_event events[256];
      const int ready = epoll_wait(epoll.get(), events, 256, wait_ms());
      for (int i = 0; i < ready; i++) {
        const int fd = events[i].data.fd;
        if (fd == wake.get()) {
          uint64_t count;
          (void)!read(fd, &count, sizeof(count));
        } else if (fd == raw4.get() || fd == raw6.get()) {
          receive(fd == raw6.get());
        } else if (fd == listen4.get() || fd == listen6.get()) {
          accept_all(fd);
        } else {
          settle(fd);
        }
      }
      {
        std::lock_guard<std::mutex> lock(mutex);
        if (stopping) return;
      }
      send_queued();
      send_burst();
      expire();
      hand_over();
    }
  }

  void wake_up() {
    const uint64_t one = 1;
    (void)!write(wake.get(), &one, sizeof(one));
  }
};

Prober::Prober(const std::string& netns, uint16_t port, std::shared_ptr<Sink<ProbeAnswers>> sink) : inner_(std::make_unique<Inner>()) {
  std::random_device random;
  inner_->id = static_cast<uint16_t>(random());
  inner_->cookie = uint64_t{random()} << 32 | random();
  inner_->sink = std::move(sink);
  if (!netns.empty()) {
    inner_->netns = Descriptor(open(netns.c_str(), O_RDONLY | O_CLOEXEC));
    if (inner_->netns.get() < 0) throw Failure(errno, "open network namespace", netns);
  }
  in_netns(netns, [&] { inner_->open(port); });
  for (const Descriptor* fd : {&inner_->wake, &inner_->raw4, &inner_->raw6, &inner_->listen4, &inner_->listen6}) inner_->watch(fd->get(), EPOLLIN);
  inner_->thread = std::thread([inner = inner_.get()] { inner->run(); });
}

Prober::~Prober() { stop(); }

void Prober::send(std::vector<ProbeRequest> requests) {
  {
    std::lock_guard<std::mutex> lock(inner_->mutex);
    inner_->queue.insert(inner_->queue.end(), requests.begin(), requests.end());
  }
  inner_->wake_up();
}

void Prober::watch(const std::vector<Watch>& watches) {
  {
    std::lock_guard<std::mutex> lock(inner_->mutex);
    const uint64_t now = now_ns();
    for (const Watch& watch : watches) inner_->watches.put(watch, now);
  }
  inner_->wake_up();
}

std::vector<WatchCount> Prober::unwatch(const std::vector<uint32_t>& ids) {
  std::lock_guard<std::mutex> lock(inner_->mutex);
  auto counts = inner_->watches.count(&ids, now_ns());
  for (uint32_t id : ids) inner_->watches.remove(id);
  return counts;
}

std::vector<WatchCount> Prober::count() {
  std::lock_guard<std::mutex> lock(inner_->mutex);
  return inner_->watches.count(nullptr, now_ns());
}

void Prober::stop() {
  if (!inner_->thread.joinable()) return;
  {
    std::lock_guard<std::mutex> lock(inner_->mutex);
    inner_->stopping = true;
  }
  inner_->wake_up();
  inner_->thread.join();
}

}  // namespace tandem
