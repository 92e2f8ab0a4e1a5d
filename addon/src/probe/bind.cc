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
  uint8_t event, zero;
  uint32_t value, rtt_us;
  RawAddress from;
};
static_assert(sizeof(PackedAnswer) == 28);

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

  void send(std::vector<ProbeRequest> requests) { prober_->send(std::move(requests)); }
  void stop() override { prober_->stop(); }
  void close(Env env) override { stream_->close(env); }
  void release() override { stream_->release(); }

 private:
  static std::vector<napi_value> arguments(Env env, ProbeAnswers& answers) {
    std::vector<PackedAnswer> packed;
    packed.reserve(answers.size());
    for (const auto& [sequence, event, value, rtt_us, from] : answers)
      packed.push_back({sequence, static_cast<uint8_t>(event), 0, value, rtt_us, from});
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

Value probe(const CallbackInfo& info) {
  auto prober = std::static_pointer_cast<BoundProber>(State::of(info.Env()).background(info[0], "prober"));
  prober->send(unpack(to_bytes(info[1], "requests")));
  return info.Env().Undefined();
}

Value close_prober(const CallbackInfo& info) { return close_background(info, "prober"); }

}  // namespace

void bind_probe(Napi::Object exports) {
  define<open_prober>(exports, "openProber");
  define<probe>(exports, "probe");
  define_async<close_prober>(exports, "closeProber");
}

}  // namespace tandem
