// SPDX-License-Identifier: Apache-2.0
// The engine and its test bench for JavaScript: src/native/l7-contract.ts says what each function does.
#include "l7/bind.h"

#include <tandem/types.h>

#include <chrono>
#include <vector>

#include "bpf/state.h"
#include "l7/choose.h"
#include "l7/dns/detail.h"
#include "l7/dns/lookups.h"
#include "l7/dns/service.h"
#include "l7/pattern.h"
#include "l7/read-tables.h"
#include "l7/runner.h"
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

Limits limits_of(const Napi::Object& given) {
  Limits limits;
  const auto number = [&](const char* name, auto& field, uint32_t most = UINT32_MAX) {
    const Value value = given.Get(name);
    if (!value.IsUndefined()) field = to_u32(value, name, most);
  };
  number("connections", limits.connections);
  const Value memory = given.Get("memory");
  if (!memory.IsUndefined()) limits.memory = static_cast<size_t>(memory.As<Napi::Number>().DoubleValue());
  number("head", limits.head, static_cast<uint32_t>(limits.input) - 1024);
  number("headers", limits.headers);
  number("connectTimeout", limits.connect_timeout);
  number("headTimeout", limits.head_timeout);
  number("idleTimeout", limits.idle_timeout);
  number("requestTimeout", limits.request_timeout);
  return limits;
}

l7::dns::Options dns_options(const Value& value) {
  const Napi::Object given = to_object(value, "dns");
  l7::dns::Options options;
  options.most_delay = to_u32(given.Get("mostDelay"), "mostDelay");
  options.denied = to_bool(given.Get("noName"), "noName") ? l7::dns::Code::no_name : l7::dns::Code::refused;
  return options;
}

Address address_of(const Value& value, const char* what) {
  const Napi::Object place = to_object(value, what);
  const Bytes bytes = to_bytes(place.Get("address"), what);
  Address address;
  if (bytes.size() == 4) {
    address.bytes[10] = address.bytes[11] = 0xff;
    memcpy(address.bytes.data() + 12, bytes.data(), 4);
  } else if (bytes.size() == 16) {
    memcpy(address.bytes.data(), bytes.data(), 16);
  } else {
    bad_argument(std::string(what) + " must have 4 or 16 bytes");
  }
  address.port = static_cast<uint16_t>(to_u32(place.Get("port"), "port", UINT16_MAX));
  return address;
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

// ({ruleSets: {egress, ingress}, normalizePath, limits}, steps) -> what came out
Value run_filter(const CallbackInfo& info) {
  const Env env = info.Env();
  const Napi::Object options = to_object(info[0], "options");
  std::vector<l7::Refused> refused;
  l7::Demands demands;
  const auto ask = [&](const char* name, l7::End& end) {
    const Value sets = options.Get(name);
    if (sets.IsNull()) return;
    const Napi::Array list = to_array(sets, name);
    end.stance = l7::Stance::asks;
    for (uint32_t at = 0; at < list.Length(); at++) end.any_of.push_back(l7::read_rule_set(list.Get(at), refused));
  };
  ask("egress", demands.egress);
  ask("ingress", demands.ingress);
  if (!refused.empty()) bad_argument(refused[0].message);
  const Limits limits = limits_of(to_object(options.Get("limits"), "limits"));
  l7::Choice choice = l7::choose(demands, limits, {to_bool(options.Get("normalizePath"), "normalizePath")},
                                  std::make_shared<l7::dns::Shared>());
  if (choice.filter == nullptr) bad_argument(choice.reason);
  l7::Runner runner(std::move(demands));
  runner.use(std::move(choice.filter));
  const Napi::Array steps = to_array(info[1], "steps");
  for (uint32_t at = 0; at < steps.Length(); at++) {
    const Napi::Object step = to_object(steps.Get(at), "a step");
    const Side from = to_string(step.Get("from"), "from") == "server" ? Side::server : Side::client;
    const Value bytes = step.Get("bytes");
    if (bytes.IsString()) {
      const std::string word = bytes.As<Napi::String>().Utf8Value();
      if (word == "end") runner.finish(from);
      else if (word == "broke") runner.fail(from, ECONNRESET);
      else if (word == "late") runner.expire();
      else bad_argument("bytes must be a Buffer, end, broke or late");
      continue;
    }
    const Bytes given = to_bytes(bytes, "bytes");
    runner.feed(from, std::string_view(reinterpret_cast<const char*>(given.data()), given.size()));
  }
  Napi::Object result = Napi::Object::New(env);
  const auto tell = [&](const char* name, Side side) {
    const l7::Runner::Out& out = runner.out(side);
    Napi::Object told = Napi::Object::New(env);
    told.Set("bytes", from_bytes(env, out.bytes.data(), out.bytes.size()));
    told.Set("finished", out.finished);
    told.Set("reset", out.reset);
    told.Set("connections", out.connections);
    result.Set(name, told);
  };
  tell("client", Side::client);
  tell("server", Side::server);
  Napi::Array records = Napi::Array::New(env);
  for (uint32_t at = 0; at < runner.records().size(); at++) {
    const l7::Record& record = runner.records()[at];
    static constexpr const char* words[] = {"forwarded", "denied", "refused", "redirected", "failed"};
    Napi::Object told = Napi::Object::New(env);
    told.Set("verdict", words[static_cast<int>(record.verdict)]);
    told.Set("protocol", record.protocol);
    told.Set("direction", record.verdict == l7::Verdict::denied ? Value(Napi::String::New(env, record.ingress ? "ingress" : "egress")) : env.Null());
    told.Set("reason", record.reason.empty() ? env.Null() : Value(Napi::String::New(env, record.reason)));
    told.Set("ruleSet", record.rules);
    told.Set("detail", "{" + record.detail + "}");
    records.Set(at, told);
  }
  result.Set("records", records);
  result.Set("memory", static_cast<double>(runner.filter().memory()));
  return result;
}

Napi::Object to_javascript(Env env, const l7::End& end) {
  static constexpr const char* words[] = {"absent", "open", "refused", "asks", "unknown"};
  Napi::Object told = Napi::Object::New(env);
  told.Set("stance", words[static_cast<int>(end.stance)]);
  told.Set("identity", end.identity);
  Napi::Array sets = Napi::Array::New(env, end.any_of.size());
  for (uint32_t at = 0; at < end.any_of.size(); at++) sets.Set(at, end.any_of[at]->id);
  told.Set("ruleSets", sets);
  return told;
}

// (bpffs, tables, flows) -> what the ends of each demand
Value read_demands(const CallbackInfo& info) {
  const Env env = info.Env();
  std::vector<l7::Refused> refused;
  const l7::Ends ends(to_string(info[0], "bpffs"));
  const auto tables = l7::read_tables(info[1], refused);
  const Napi::Array flows = to_array(info[2], "flows");
  Napi::Array answers = Napi::Array::New(env, flows.Length());
  for (uint32_t at = 0; at < flows.Length(); at++) {
    const Napi::Object flow = to_object(flows.Get(at), "a flow");
    const l7::Demands demands = ends.demands(address_of(flow.Get("client"), "client"), address_of(flow.Get("server"), "server"),
                                             static_cast<uint8_t>(to_u32(flow.Get("protocol"), "protocol", UINT8_MAX)), *tables);
    Napi::Object answer = Napi::Object::New(env);
    answer.Set("egress", to_javascript(env, demands.egress));
    answer.Set("ingress", to_javascript(env, demands.ingress));
    answers.Set(at, answer);
  }
  return answers;
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
  define<run_filter>(exports, "runL7Filter");
  define<read_demands>(exports, "readL7Demands");
}

}  // namespace tandem
