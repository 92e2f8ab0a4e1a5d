// SPDX-License-Identifier: Apache-2.0
#include "netlink/monitor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "netns/netns.h"

namespace tandem {

struct Monitor::Inner {
  std::unique_ptr<Connection> connection;
  std::shared_ptr<Sink<Events>> sink;
  Descriptor wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::thread thread;

  template <typename Row>
  static void add(std::vector<NetlinkEvent>& events, const nlmsghdr* header, bool gone, std::optional<Row> (*read)(const nlmsghdr*)) {
    if (auto row = read(header)) events.push_back({gone, std::move(*row)});
  }

  static void read(std::vector<NetlinkEvent>& events, const nlmsghdr* header) {
    switch (header->nlmsg_type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
        return add(events, header, header->nlmsg_type == RTM_DELLINK, read_link);
      case RTM_NEWADDR:
      case RTM_DELADDR:
        return add(events, header, header->nlmsg_type == RTM_DELADDR, read_address);
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        return add(events, header, header->nlmsg_type == RTM_DELROUTE, read_route);
      case RTM_NEWRULE:
      case RTM_DELRULE:
        return add(events, header, header->nlmsg_type == RTM_DELRULE, read_rule);
      case RTM_NEWNEIGH:
      case RTM_DELNEIGH:
        return add(events, header, header->nlmsg_type == RTM_DELNEIGH, read_neighbour);
    }
  }

  // Waits for messages, or for room if there is none. False: stop.
  bool wait() {
    const bool room = sink->has_room();
    pollfd fds[3] = {{wake.get(), POLLIN, 0}, {sink->room_fd(), POLLIN, 0}, {room ? connection->fd() : -1, POLLIN, 0}};
    while (poll(fds, 3, -1) < 0 && errno == EINTR) {
    }
    uint64_t count;
    if (fds[1].revents) (void)!::read(sink->room_fd(), &count, sizeof(count));
    return !fds[0].revents;
  }

  void run() {
    constexpr size_t most_events = 1024;
    sink->push({NetlinkEvent{}});
    while (wait()) {
      Events events;
      try {
        // what is there already goes into one batch
        while (sink->has_room() && events.size() < most_events) {
          auto received = connection->receive([&](const nlmsghdr* header) { read(events, header); }, false);
          if (received == Connection::Received::nothing) break;
          if (received == Connection::Received::messages) continue;
          // Events that are older than the lost ones must not follow the resync: they would undo what is then listed.
          connection->discard();
          events = {NetlinkEvent{}};
          break;
        }
      } catch (const Failure&) {
        events = {NetlinkEvent{}};  // no error that we know of: list again, and not in a tight loop
        usleep(100'000);
      }
      if (!events.empty()) sink->push(std::move(events));
    }
  }
};

Monitor::Monitor(const std::string& netns, uint32_t groups, uint32_t receive_bytes, std::shared_ptr<Sink<Events>> sink)
    : inner_(std::make_unique<Inner>()) {
  // A socket stays in the namespace where it was made, so the thread need not.
  in_netns(netns, [&] { inner_->connection = std::make_unique<Connection>(groups, receive_bytes); });
  inner_->sink = std::move(sink);
  inner_->thread = std::thread([inner = inner_.get()] { inner->run(); });
}

Monitor::~Monitor() { stop(); }

void Monitor::stop() {
  if (!inner_->thread.joinable()) return;
  uint64_t one = 1;
  (void)!write(inner_->wake.get(), &one, sizeof(one));
  inner_->thread.join();
}

}  // namespace tandem
