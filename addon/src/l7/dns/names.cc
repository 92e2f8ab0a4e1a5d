// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/names.h"

#include <algorithm>
#include <utility>

#include "l7/pattern.h"

namespace tandem::l7::dns {
namespace {

constexpr uint64_t second = 1'000'000'000;
// Afterwards the agent has lost what it was told, and is told again.
constexpr uint64_t patience = 5 * second;
// As of RFC 8767, and as the agent's cache.
constexpr uint32_t most_ttl = 604'800;

// `endpoint`: whose it is alone; 0: of all with the policy set.
std::string place_of(uint32_t endpoint, uint32_t policy_set, const std::string& name, const Address& address) {
  std::string place(reinterpret_cast<const char*>(&endpoint), sizeof(endpoint));
  place.append(reinterpret_cast<const char*>(&policy_set), sizeof(policy_set));
  place.append(reinterpret_cast<const char*>(address.bytes.data()), address.length);
  return place.append(name);
}

std::string key_of(const End& client, const Answer& answer) {
  std::string key(reinterpret_cast<const char*>(&client.policy_set), sizeof(client.policy_set));
  key.append(reinterpret_cast<const char*>(&client.endpoint), sizeof(client.endpoint));
  key.append(answer.question->name).push_back('\0');
  for (const Address& each : answer.addresses) key.append(reinterpret_cast<const char*>(each.bytes.data()), each.length);
  return key;
}

}  // namespace

void Names::publish(std::shared_ptr<const NamesOfSets> of_sets, bool shared) {
  shared_ = shared;
  std::atomic_store(&of_sets_, std::move(of_sets));
}

void Names::connected(bool is_connected) {
  connected_ = is_connected;
  if (is_connected) {
    std::unique_lock lock(mutex_);
    const bool has_some = !queue_.empty();
    lock.unlock();
    if (has_some && notify_) notify_();
    return;
  }
  // Nobody will say that they are open.
  std::lock_guard lock(mutex_);
  waiting_.clear();
  tickets_.clear();
  for (const auto& [id, notify] : listeners_) notify();
}

uint32_t Names::on_written(std::function<void()> notify) {
  std::lock_guard lock(mutex_);
  listeners_[next_listener_] = std::move(notify);
  return next_listener_++;
}

void Names::remove_listener(uint32_t listener) {
  std::lock_guard lock(mutex_);
  listeners_.erase(listener);
}

uint64_t Names::learn(const End& client, const Answer& answer, uint64_t now) {
  if (client.endpoint == 0 || answer.addresses.empty() || !answer.question) return 0;
  const auto of_sets = std::atomic_load(&of_sets_);
  auto names = of_sets->find(client.policy_set);
  if (names == of_sets->end()) names = of_sets->find(0);
  if (names == of_sets->end() || !names->second->matches(answer.question->name)) return 0;

  const std::string& name = answer.question->name;
  const uint32_t alone = shared_ ? 0 : client.endpoint;
  const uint64_t until = now + std::clamp(answer.ttl, options_.least_ttl, most_ttl) * second;
  std::vector<std::string> places;
  places.reserve(answer.addresses.size());
  for (const Address& each : answer.addresses) places.push_back(place_of(alone, names->first, name, each));
  bool must_wait = false, is_news = false, was_empty = false;
  uint64_t ticket = 0;
  {
    std::lock_guard lock(mutex_);
    for (const std::string& place : places) {
      const auto known = known_.find(place);
      if (known == known_.end() || known->second.until <= now) must_wait = true;
      // The agent keeps an address for a second longer than it was told (NameFollower), so one that was told again is never late.
      else if (known->second.until + second < until) is_news = true;
    }
    if (!must_wait && !is_news) {
      counts.remembered++;
      return 0;
    }
    std::string key = key_of(client, answer);
    if (const auto same = tickets_.find(key); same != tickets_.end()) {
      const auto known = waiting_.find(same->second);
      if (known->second.since + patience > now) return must_wait ? same->second : 0;
      waiting_.erase(known);
      tickets_.erase(same);
    }
    if (waiting_.size() >= options_.most_waiting) give_up(now);
    if (queue_.size() >= options_.most_waiting || waiting_.size() >= options_.most_waiting) {
      counts.lost++;
      return 0;
    }
    ticket = next_++;
    was_empty = queue_.empty();
    queue_.push_back({ticket, client.endpoint, client.policy_set, name, answer.addresses, answer.ttl});
    if (connected_) {
      tickets_.emplace(key, ticket);
      waiting_.emplace(ticket, Waiting{alone, std::move(key), name, std::move(places), until, now});
    }
  }
  counts.told++;
  if (was_empty && connected_ && notify_) notify_();
  return must_wait && connected_ ? ticket : 0;
}

bool Names::is_open(uint64_t ticket) const {
  std::lock_guard lock(mutex_);
  return waiting_.find(ticket) == waiting_.end();
}

size_t Names::size() const {
  std::lock_guard lock(mutex_);
  return known_.size();
}

std::vector<Lookup> Names::take() {
  std::lock_guard lock(mutex_);
  return std::exchange(queue_, {});
}

void Names::written(const std::vector<uint64_t>& tickets) {
  std::lock_guard lock(mutex_);
  for (const uint64_t ticket : tickets) {
    const auto found = waiting_.find(ticket);
    if (found == waiting_.end()) continue;
    remember(found->second);
    tickets_.erase(found->second.key);
    waiting_.erase(found);
  }
  for (const auto& [id, notify] : listeners_) notify();
}

void Names::give_up(uint64_t now) {
  for (auto each = waiting_.begin(); each != waiting_.end();) {
    if (each->second.since + patience > now) {
      each++;
      continue;
    }
    tickets_.erase(each->second.key);
    each = waiting_.erase(each);
  }
}

void Names::remember(const Waiting& waiting) {
  // Forgetting costs one question to the agent for each answer that comes again, and nothing else.
  if (known_.size() + waiting.places.size() > options_.most_known) known_.clear();
  for (const std::string& place : waiting.places) {
    Known& known = known_[place];
    known.endpoint = waiting.endpoint;
    known.name = waiting.name;
    known.until = std::max(known.until, waiting.until);
  }
}

std::vector<KnownAddress> Names::known(uint64_t now) const {
  std::vector<KnownAddress> all;
  std::lock_guard lock(mutex_);
  for (const auto& [place, known] : known_)
    if (known.until > now) all.push_back({place, known.endpoint, known.name, known.until});
  return all;
}

void Names::inherit(std::vector<KnownAddress>&& known) {
  std::lock_guard lock(mutex_);
  for (KnownAddress& each : known) {
    if (known_.size() >= options_.most_known) return;
    Known& here = known_[std::move(each.place)];
    here.endpoint = each.endpoint;
    here.name = std::move(each.name);
    here.until = std::max(here.until, each.until);
  }
}

void Names::forget() {
  std::lock_guard lock(mutex_);
  known_.clear();
}

void Names::forget(const std::string& name) {
  std::lock_guard lock(mutex_);
  for (auto each = known_.begin(); each != known_.end();) each = each->second.name == name ? known_.erase(each) : std::next(each);
}

void Names::forget(uint32_t endpoint) {
  std::lock_guard lock(mutex_);
  for (auto each = known_.begin(); each != known_.end();)
    each = each->second.endpoint == endpoint ? known_.erase(each) : std::next(each);
  // What it was still waiting for is open to nobody else.
  for (auto& [ticket, waiting] : waiting_)
    if (waiting.endpoint == endpoint) waiting.places.clear();
}

}  // namespace tandem::l7::dns
