// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/service.h"

#include <tandem/types.h>

#include <cstring>
#include <tuple>
#include <unordered_map>

#include "l7/record_line.h"

namespace tandem::l7::dns {
namespace {

// MARK_PROXY of bpf/include/tandem/config.h, which only programs can include.
constexpr uint32_t proxy_mark = 0x0b00;
constexpr size_t batch_bytes = 64 * 1024;      // of records, that go to JavaScript at once
constexpr uint64_t batch_pause = 100'000'000;  // ns after which fewer go, too
// Flows whose demands are remembered.
constexpr size_t most_flows = 16'384;

l7::Address address_of(const Place& place) {
  l7::Address address;
  if (place.address.length == 4) {
    address.bytes[10] = address.bytes[11] = 0xff;
    memcpy(address.bytes.data() + 12, place.address.bytes.data(), 4);
  } else {
    address.bytes = place.address.bytes;
  }
  address.port = place.port;
  return address;
}

// What is missing may come without another revision.
bool is_unknown(const Demands& demands) { return demands.egress.stance == Stance::unknown || demands.ingress.stance == Stance::unknown; }

// The policies of the kernel's tables; each flow's are remembered until one of its ends has others.
class Policies : public Surroundings {
 public:
  explicit Policies(l7::Shared& shared) : shared_(shared) {}

  const Demands& demands(const Path& path) override {
    if (generation_ != shared_.tables.generation()) {
      std::tie(tables_, generation_) = shared_.tables.now();
      known_.clear();
    }
    const l7::Address client = address_of(path.client), server = address_of(path.server);
    const Ends::Revision revision = shared_.network->revision(client, server);
    const auto found = known_.find(path);
    if (found != known_.end() && found->second.revision == revision && !is_unknown(found->second.demands)) return found->second.demands;
    if (known_.size() >= most_flows) known_.clear();
    Known& known = known_[path];
    known = {revision, shared_.network->demands(client, server, IPPROTO_UDP, *tables_)};
    return known.demands;
  }

  void record(const Path& path, const Demands& demands, Record&& record) override {
    shared_.counts.requests++;
    // One that nobody takes does not grow for ever.
    if (records_.lines.size() > 16 * batch_bytes) {
      records_.lost++;
      shared_.counts.records_lost++;
      return;
    }
    append_record(records_.lines, address_of(path.client), address_of(path.server), demands, record);
  }

  bool flush(uint64_t now) override {
    if (records_.lines.empty() && records_.lost == 0) return false;
    const bool is_due = records_.lines.size() >= batch_bytes || now >= flushed_ + batch_pause;
    if (!is_due || shared_.records == nullptr || !shared_.records->has_room()) return true;
    flushed_ = now;
    shared_.records->push(std::exchange(records_, {}));
    return false;
  }

 private:
  struct Known {
    Ends::Revision revision;
    Demands demands;
  };

  l7::Shared& shared_;
  std::shared_ptr<const Tables> tables_;
  uint64_t generation_ = 0;
  std::unordered_map<Path, Known, PathHash> known_;
  Records records_;
  uint64_t flushed_ = 0;
};

}  // namespace

Service::Service(l7::Shared& shared, uint32_t workers) {
  for (uint32_t each = 0; each < workers; each++) {
    UdpOptions options;
    options.mark = proxy_mark;
    options.sockets.push_back(receive_transparent(AF_INET));
    options.sockets.push_back(receive_transparent(AF_INET6));
    sockets_.emplace_back(options.sockets[0].get(), options.sockets[1].get());
    workers_.push_back(std::make_unique<UdpWorker>(std::move(options), shared.dns, std::make_unique<Policies>(shared)));
  }
}

void Service::listen(const Slots& slots) const {
  for (uint32_t worker = 0; worker < sockets_.size(); worker++) {
    slots.put(PROXY_UDP4, worker, sockets_[worker].first);
    slots.put(PROXY_UDP6, worker, sockets_[worker].second);
  }
}

bool Service::wait_for_answers(std::chrono::steady_clock::time_point until) {
  bool all = true;
  for (auto& worker : workers_) all = worker->wait_for_answers(until) && all;
  return all;
}

std::vector<UnderWay> Service::under_way() {
  std::vector<UnderWay> all;
  for (auto& worker : workers_)
    for (UnderWay& each : worker->under_way()) all.push_back(std::move(each));
  return all;
}

void Service::inherit(std::vector<UnderWay>&& questions) {
  std::vector<std::vector<UnderWay>> shares(workers_.size());
  for (UnderWay& each : questions) {
    // As listener_for of bpf/lib/proxy.h spreads clients.
    const uint16_t port = each.path.client.port;
    shares[static_cast<size_t>(port ^ port >> 8) % shares.size()].push_back(std::move(each));
  }
  for (size_t worker = 0; worker < shares.size(); worker++) workers_[worker]->inherit(std::move(shares[worker]));
}

}  // namespace tandem::l7::dns
