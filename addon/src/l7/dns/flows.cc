// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/flows.h"

#include <sys/epoll.h>

#include <cerrno>
#include <iterator>
#include <utility>

namespace tandem::l7::dns {

Flow* Flows::find(const Path& path) const {
  const auto found = by_path_.find(path);
  return found == by_path_.end() ? nullptr : found->second;
}

Flow* Flows::find_or_open(const Path& path, uint32_t endpoint) {
  if (Flow* found = find(path)) return found;
  if (flows_.size() >= options_.most && !close_idle()) return nullptr;
  Descriptor fd(connect_as_client(path, options_.mark));
  // No more descriptors: those of idle flows are there to be had.
  if (fd.get() < 0 && (errno == EMFILE || errno == ENFILE) && close_idle()) fd = Descriptor(connect_as_client(path, options_.mark));
  if (fd.get() < 0) return nullptr;
  auto flow = std::make_unique<Flow>(path, std::move(fd), options_.most_questions);
  flow->endpoint = endpoint;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = flow.get();
  if (epoll_ctl(options_.epoll, EPOLL_CTL_ADD, flow->fd.get(), &event)) return nullptr;
  if (const auto before = inherited_.find(path); before != inherited_.end()) {
    for (Asked& asked : before->second) add(*flow, std::move(asked));
    inherited_.erase(before);
  }
  flows_.push_back(std::move(flow));
  flows_.back()->at = std::prev(flows_.end());
  return by_path_[path] = flows_.back().get();
}

void Flows::touch(Flow& flow, uint64_t now) {
  flow.used = now;
  flows_.splice(flows_.end(), flows_, flow.at);
}

void Flows::add(Flow& flow, Asked&& asked) {
  if (flow.questions.add(std::move(asked))) under_way_[flow.endpoint]++;
}

void Flows::ended(const Flow& flow) {
  const auto found = under_way_.find(flow.endpoint);
  if (--found->second == 0) under_way_.erase(found);
}

size_t Flows::under_way(uint32_t endpoint) const {
  const auto found = under_way_.find(endpoint);
  return found == under_way_.end() ? 0 : found->second;
}

void Flows::inherit(const Path& path, Asked&& asked) {
  if (Flow* flow = find(path)) add(*flow, std::move(asked));
  else inherited_[path].push_back(std::move(asked));
}

void Flows::close(Flow& flow) {
  flow.fd = Descriptor();
  by_path_.erase(flow.path);
  // An event of this turn may still be about it.
  closed_.splice(closed_.end(), flows_, flow.at);
}

bool Flows::close_idle() {
  if (flows_.empty() || flows_.front()->questions.size() > 0) return false;
  close(*flows_.front());
  return true;
}

}  // namespace tandem::l7::dns
