// SPDX-License-Identifier: Apache-2.0
// src/native/probe-contract.ts: requests and answers are records of fixed size in one buffer, little-endian.
#include "probe/bind.h"

#include <cstring>

#include "bpf/bind.h"
#include "bpf/state.h"
#include "napi/convert.h"
#include "napi/stream.h"
#include "napi/work.h"
#include "probe/prober.h"

namespace tandem {
namespace {

using Napi::CallbackInfo;
using Napi::Env;
using Napi::Value;

struct PackedRequest {
  uint8_t tcp, v6;
  uint16_t sequence, port, size;
  uint32_t ifindex;
  uint8_t address[16];
};
static_assert(sizeof(PackedRequest) == 28);

struct PackedAnswer {
  uint16_t sequence;
  uint8_t event, large;
  uint32_t watch, value, rtt_us;
  RawAddress from;
};
static_assert(sizeof(PackedAnswer) == 32);

struct PackedWatch {
  uint32_t id;
  uint8_t tcp, v6, event, zero;
  uint16_t port, large;
  uint32_t ifindex, interval_ms, large_ms, large_first_ms;
  RawAddress address, from;
};
static_assert(sizeof(PackedWatch) == 60);

// Its times follow it, 32 bits each.
struct PackedCount {
  uint32_t id, sent, answered_ago_ms, times;
};
static_assert(sizeof(PackedCount) == 16);

std::vector<ProbeRequest> unpack(const Bytes& bytes) {
  if (bytes.size() % sizeof(PackedRequest) != 0) bad_argument("requests must be whole records");
  std::vector<ProbeRequest> requests;
  requests.reserve(bytes.size() / sizeof(PackedRequest));
  for (size_t at = 0; at < bytes.size(); at += sizeof(PackedRequest)) {
    PackedRequest packed;
    memcpy(&packed, bytes.data() + at, sizeof(packed));
    ProbeRequest request{packed.tcp != 0, packed.v6 != 0, packed.sequence, packed.port, packed.size, packed.ifindex, {}};
    memcpy(request.address.data(), packed.address, sizeof(packed.address));
    requests.push_back(request);
  }
  return requests;
}

std::vector<Watch> unpack_watches(const Bytes& bytes) {
  if (bytes.size() % sizeof(PackedWatch) != 0) bad_argument("watches must be whole records");
  std::vector<Watch> watches;
  watches.reserve(bytes.size() / sizeof(PackedWatch));
  for (size_t at = 0; at < bytes.size(); at += sizeof(PackedWatch)) {
    PackedWatch packed;
    memcpy(&packed, bytes.data() + at, sizeof(packed));
    if (packed.id == 0) bad_argument("a watch must have a number");
    watches.push_back({packed.id, packed.tcp != 0, packed.v6 != 0, static_cast<ProbeEvent>(packed.event), packed.from, packed.port, packed.large,
                       packed.large_ms, packed.large_first_ms, packed.interval_ms, packed.ifindex, packed.address});
  }
  return watches;
}

Value from_counts(Env env, const std::vector<WatchCount>& counts) {
  std::vector<uint32_t> packed;
  for (const auto& [id, sent, answered_ago_ms, times_us] : counts) {
    packed.insert(packed.end(), {id, sent, answered_ago_ms, static_cast<uint32_t>(times_us.size())});
    packed.insert(packed.end(), times_us.begin(), times_us.end());
  }
  return from_bytes(env, packed.data(), packed.size() * sizeof(uint32_t));
}

class BoundProber : public Background {
 public:
  BoundProber(Env env, const std::string& netns, uint16_t port, Napi::Function callback)
      : Background("prober"), stream_(std::make_shared<Stream<ProbeAnswers>>(env, "probe", callback, 64, arguments)) {
    try {
      prober_ = std::make_unique<Prober>(netns, port, stream_);
    } catch (...) {
      stream_->release();
      throw;
    }
  }

  Prober& prober() { return *prober_; }
  void stop() override { prober_->stop(); }
  void close(Env env) override { stream_->close(env); }
  void release() override { stream_->release(); }

 private:
  static std::vector<napi_value> arguments(Env env, ProbeAnswers& answers) {
    std::vector<PackedAnswer> packed;
    packed.reserve(answers.size());
    for (const auto& [sequence, event, large, watch, value, rtt_us, from] : answers)
      packed.push_back({sequence, static_cast<uint8_t>(event), static_cast<uint8_t>(large), watch, value, rtt_us, from});
    return {from_bytes(env, packed.data(), packed.size() * sizeof(PackedAnswer))};
  }

  std::shared_ptr<Stream<ProbeAnswers>> stream_;
  std::unique_ptr<Prober> prober_;
};

Value open_prober(const CallbackInfo& info) {
  auto prober = std::make_shared<BoundProber>(info.Env(), to_optional_string(info[0], "netns"),
                                              static_cast<uint16_t>(to_u32(info[1], "port", UINT16_MAX)), to_function(info[2], "onAnswers"));
  return Napi::Number::New(info.Env(), State::of(info.Env()).add(std::shared_ptr<Background>(std::move(prober))));
}

std::shared_ptr<BoundProber> prober_of(const CallbackInfo& info) {
  return std::static_pointer_cast<BoundProber>(State::of(info.Env()).background(info[0], "prober"));
}

Value probe(const CallbackInfo& info) {
  prober_of(info)->prober().send(unpack(to_bytes(info[1], "requests")));
  return info.Env().Undefined();
}

Value watch(const CallbackInfo& info) {
  prober_of(info)->prober().watch(unpack_watches(to_bytes(info[1], "watches")));
  return info.Env().Undefined();
}

Value unwatch(const CallbackInfo& info) {
  const auto bytes = to_bytes(info[1], "ids");
  if (bytes.size() % sizeof(uint32_t) != 0) bad_argument("ids must be whole numbers");
  std::vector<uint32_t> ids(bytes.size() / sizeof(uint32_t));
  memcpy(ids.data(), bytes.data(), bytes.size());
  return from_counts(info.Env(), prober_of(info)->prober().unwatch(ids));
}

Value count_watches(const CallbackInfo& info) { return from_counts(info.Env(), prober_of(info)->prober().count()); }

Value close_prober(const CallbackInfo& info) { return close_background(info, "prober"); }

}  // namespace

void bind_probe(Napi::Object exports) {
  define<open_prober>(exports, "openProber");
  define<probe>(exports, "probe");
  define<watch>(exports, "watchPaths");
  define<unwatch>(exports, "unwatchPaths");
  define<count_watches>(exports, "countWatches");
  define_async<close_prober>(exports, "closeProber");
}

}  // namespace tandem
