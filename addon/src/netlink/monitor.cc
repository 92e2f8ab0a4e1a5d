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
  OnEvents on_events;
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

  void run() {
    on_events({NetlinkEvent{}});
    pollfd fds[2] = {{connection->fd(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
    for (;;) {
      if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents) return;
      std::vector<NetlinkEvent> events;
      bool resync = false;
      // what is there already goes into one batch
      do {
        try {
          resync |= !connection->receive([&](const nlmsghdr* header) { read(events, header); });
        } catch (const Failure&) {
          resync = true;  // the socket stays usable; the receiver lists again
          break;
        }
      } while (events.size() < 4096 && poll(fds, 1, 0) > 0);
      if (resync) events = {NetlinkEvent{}};
      if (!events.empty()) on_events(std::move(events));
    }
  }
};

Monitor::Monitor(std::string netns, uint32_t groups, OnEvents on_events) : inner_(std::make_unique<Inner>()) {
  // A socket stays in the namespace where it was made, so the thread need not.
  in_netns(netns, [&] { inner_->connection = std::make_unique<Connection>(groups); });
  inner_->on_events = std::move(on_events);
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
