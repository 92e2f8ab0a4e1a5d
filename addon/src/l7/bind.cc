// SPDX-License-Identifier: Apache-2.0
// The engine for JavaScript: src/native/l7-contract.ts says what each function does.
#include "l7/bind.h"

#include <tandem/types.h>

#include <chrono>
#include <vector>

#include "bpf/state.h"
#include "l7/arguments.h"
#include "l7/dns/bind.h"
#include "l7/dns/detail.h"
#include "l7/dns/lookups.h"
#include "l7/dns/service.h"
#include "l7/pattern.h"
#include "l7/read-tables.h"
#include "l7/worker.h"
#include "napi/convert.h"
#include "napi/stream.h"
#include "napi/work.h"

namespace tandem {
namespace {

using l7::Address;
using l7::Limits;
using l7::Side;
using Napi::CallbackInfo;
using Napi::Env;
using Napi::Value;

constexpr const char* engine_kind = "L7 engine";
// Batches of records that wait for JavaScript.
constexpr size_t most_batches = 64;

class Engine : public Background {
 public:
  Engine(Env env, Napi::Function on_records, Napi::Function on_lookups, const l7::dns::Options& dns, const Limits& limits, const l7::http::JudgeOptions& judge,
         std::shared_ptr<l7::Network> network, std::unique_ptr<l7::Slots> slots, uint32_t threads)
      : Background(engine_kind),
        slots_(std::move(slots)),
        records_(env, "L7 records", on_records, most_batches, [](Env inner, l7::Records& batch) {
          return std::vector<napi_value>{from_bytes(inner, batch.lines.data(), batch.lines.size()),
                                         Napi::Number::New(inner, static_cast<double>(batch.lost))};
        }),
        lookups_(std::make_shared<l7::dns::LookupStream>(env, "DNS lookups", on_lookups, SIZE_MAX, l7::dns::lookup_arguments)) {
    shared_.limits = limits;
    shared_.judge = judge;
    shared_.network = std::move(network);
    shared_.records = &records_;
    shared_.dns->options = dns;
    shared_.dns->names = std::make_shared<l7::dns::Names>(l7::dns::NamesOptions{});
    shared_.dns->names->on_lookups([stream = lookups_, names = shared_.dns->names.get()] { stream->push(names->take()); });
    for (uint32_t each = 0; each < threads; each++) {
      std::vector<Descriptor> listeners;
      listeners.push_back(shared_.network->listen(AF_INET));
      listeners.push_back(shared_.network->listen(AF_INET6));
      workers_.push_back(std::make_unique<l7::Worker>(shared_, std::move(listeners)));
    }
    // Without the kernel's tables nobody knows where datagrams want to go.
    if (slots_ != nullptr) dns_ = std::make_unique<l7::dns::Service>(shared_, threads);
  }

  void publish(std::shared_ptr<const l7::Tables> tables) { shared_.tables.publish(std::move(tables)); }
  const l7::Counts& counts() const { return shared_.counts; }

  void listen() {
    if (slots_ == nullptr) return;
    for (uint32_t worker = 0; worker < workers_.size(); worker++) {
      slots_->put(PROXY_TCP4, worker, workers_[worker]->listener(0));
      slots_->put(PROXY_TCP6, worker, workers_[worker]->listener(1));
    }
    dns_->listen(*slots_);
    slots_->open(static_cast<uint32_t>(workers_.size()));
  }

  // On a pool thread.
  void drain(uint32_t limit) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit);
    for (auto& worker : workers_) worker->drain();
    for (auto& worker : workers_) worker->wait_until_empty(until);
    if (dns_ != nullptr) dns_->wait_for_answers(until);
  }

  std::string hand_over(bool with_names) {
    l7::dns::Handover handover;
    if (with_names) handover.known = shared_.dns->names->known(l7::dns::now_of_clock());
    if (dns_ != nullptr) handover.questions = dns_->under_way();
    return l7::dns::write_handover(handover);
  }

  void inherit(std::string_view bytes) {
    l7::dns::Handover handover = l7::dns::read_handover(bytes);
    shared_.dns->names->inherit(std::move(handover.known));
    if (dns_ != nullptr) dns_->inherit(std::move(handover.questions));
  }

  void stop() override {
    dns_.reset();
    workers_.clear();
  }
  void close(Env env) override {
    records_.close(env);
    lookups_->close(env);
  }
  void release() override {
    records_.release();
    lookups_->release();
  }
  l7::dns::Shared& dns() { return *shared_.dns; }

 private:
  l7::Shared shared_;
  std::unique_ptr<l7::Slots> slots_;
  Stream<l7::Records> records_;
  const std::shared_ptr<l7::dns::LookupStream> lookups_;
  std::unique_ptr<l7::dns::Service> dns_;
  std::vector<std::unique_ptr<l7::Worker>> workers_;
};

l7::dns::Options dns_options(const Value& value) {
  const Napi::Object given = to_object(value, "dns");
  l7::dns::Options options;
  options.most_delay = to_u32(given.Get("mostDelay"), "mostDelay");
  options.denied = to_bool(given.Get("noName"), "noName") ? l7::dns::Code::no_name : l7::dns::Code::refused;
  return options;
}

Engine& engine_of(const CallbackInfo& info) { return static_cast<Engine&>(*State::of(info.Env()).background(info[0], engine_kind)); }

// (options, onRecords, onLookups) -> handle
Value open_engine(const CallbackInfo& info) {
  const Napi::Object options = to_object(info[0], "options");
  const uint32_t threads = to_u32(options.Get("threads"), "threads", PROXY_WORKERS);
  if (threads == 0) bad_argument("threads must be at least 1");
  const l7::http::JudgeOptions judge{to_bool(options.Get("normalizePath"), "normalizePath")};
  std::shared_ptr<l7::Network> network;
  std::unique_ptr<l7::Slots> slots;
  const Value fixed = options.Get("fixed");
  if (fixed.IsObject()) {
    const Napi::Object places = fixed.As<Napi::Object>();
    network = std::make_shared<l7::FixedNetwork>(address_of(places.Get("listen"), "listen"), address_of(places.Get("server"), "server"));
  } else {
    const std::string bpffs = to_string(options.Get("bpffs"), "bpffs");
    network = std::make_shared<l7::KernelNetwork>(bpffs);
    slots = std::make_unique<l7::Slots>(bpffs);
  }
  auto engine = std::make_shared<Engine>(info.Env(), to_function(info[1], "onRecords"), to_function(info[2], "onLookups"), dns_options(options.Get("dns")), limits_of(to_object(options.Get("limits"), "limits")),
                                         judge, std::move(network), std::move(slots), threads);
  return Napi::Number::New(info.Env(), State::of(info.Env()).add(std::shared_ptr<Background>(std::move(engine))));
}

Napi::Array to_javascript(Env env, const std::vector<l7::Refused>& refused) {
  Napi::Array list = Napi::Array::New(env, refused.size());
  for (uint32_t at = 0; at < refused.size(); at++) {
    Napi::Object each = Napi::Object::New(env);
    each.Set("ruleSet", refused[at].rule_set);
    each.Set("message", refused[at].message);
    list.Set(at, each);
  }
  return list;
}

Value configure_engine(const CallbackInfo& info) {
  std::vector<l7::Refused> refused;
  engine_of(info).publish(l7::read_tables(info[1], refused));
  return to_javascript(info.Env(), refused);
}

Value listen_engine(const CallbackInfo& info) {
  engine_of(info).listen();
  return info.Env().Undefined();
}

Value engine_stats(const CallbackInfo& info) {
  const l7::Counts& counts = engine_of(info).counts();
  Napi::Object stats = Napi::Object::New(info.Env());
  stats.Set("connections", static_cast<double>(counts.connections));
  stats.Set("connectionsTotal", static_cast<double>(counts.connections_total));
  stats.Set("refused", static_cast<double>(counts.refused));
  stats.Set("requests", static_cast<double>(counts.requests));
  stats.Set("memory", static_cast<double>(counts.memory));
  stats.Set("recordsLost", static_cast<double>(counts.records_lost));
  Napi::Object limits = Napi::Object::New(info.Env());
  for (size_t each = 0; each < l7::limit_count; each++) limits.Set(l7::limit_names[each], static_cast<double>(counts.limits[each]));
  stats.Set("limits", limits);
  stats.Set("dns", dns_counts_of(info.Env(), engine_of(info).dns()));
  return stats;
}

Value want_names(const CallbackInfo& info) {
  auto names = std::make_shared<l7::dns::NamesOfSets>();
  if (!info[1].IsNull()) {
    std::string expression = to_string(info[1], "pattern"), error;
    auto pattern = l7::Pattern::make(expression, error);
    if (!pattern) bad_argument("names " + expression + ": " + error);
    names->emplace(0, std::move(pattern));
  }
  engine_of(info).dns().names->publish(std::move(names), to_bool(info[2], "shared"));
  return info.Env().Undefined();
}

Value connect_names(const CallbackInfo& info) {
  engine_of(info).dns().names->connected(to_bool(info[1], "connected"));
  return info.Env().Undefined();
}

Value open_names(const CallbackInfo& info) {
  engine_of(info).dns().names->written(l7::dns::to_tickets(info[1]));
  return info.Env().Undefined();
}

Value forget_names(const CallbackInfo& info) {
  auto& names = *engine_of(info).dns().names;
  if (info[1].IsNull()) names.forget();
  else names.forget(to_string(info[1], "name"));
  return info.Env().Undefined();
}

Value forget_endpoints(const CallbackInfo& info) {
  auto array = to_array(info[1], "endpoints");
  for (uint32_t each = 0; each < array.Length(); each++) {
    const uint32_t endpoint = to_u32(array.Get(each), "endpoints[]");
    engine_of(info).dns().names->forget(endpoint);
  }
  return info.Env().Undefined();
}

Value hand_over_names(const CallbackInfo& info) {
  const std::string bytes = engine_of(info).hand_over(to_bool(info[1], "withNames"));
  return from_bytes(info.Env(), bytes.data(), bytes.size());
}

Value inherit_names(const CallbackInfo& info) {
  const Bytes bytes = to_bytes(info[1], "state");
  engine_of(info).inherit({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return info.Env().Undefined();
}

Value drain_engine(const CallbackInfo& info) {
  auto background = State::of(info.Env()).background(info[0], engine_kind);
  const uint32_t limit = to_u32(info[1], "limit");
  return promise_of_nothing(info.Env(), [background, limit] { static_cast<Engine&>(*background).drain(limit); });
}

Value close_engine(const CallbackInfo& info) {
  std::shared_ptr<Background> background = State::of(info.Env()).take_background(info[0], engine_kind);
  return promise_of<int>(
      info.Env(),
      [background] {
        background->stop();
        return 0;
      },
      [background](Env env, int&) -> Value {
        background->close(env);
        background->release();
        return env.Undefined();
      });
}

}  // namespace

void bind_l7(Napi::Object exports) {
  define<open_engine>(exports, "openL7Engine");
  define<configure_engine>(exports, "configureL7Engine");
  define<listen_engine>(exports, "listenL7Engine");
  define<engine_stats>(exports, "statsL7Engine");
  define<want_names>(exports, "wantL7Names");
  define<connect_names>(exports, "connectL7Names");
  define<open_names>(exports, "openL7Names");
  define<forget_names>(exports, "forgetL7Names");
  define<forget_endpoints>(exports, "forgetL7Endpoints");
  define<hand_over_names>(exports, "handOverL7Names");
  define<inherit_names>(exports, "inheritL7Names");
  define_async<drain_engine>(exports, "drainL7Engine");
  define_async<close_engine>(exports, "closeL7Engine");
  bind_l7_trials(exports);
}

}  // namespace tandem
