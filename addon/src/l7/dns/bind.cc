// SPDX-License-Identifier: Apache-2.0
// A DNS proxy by itself, with the same demands for all of its clients (src/native/dns-contract.ts): what tests and benchmarks measure, and what
// shows how a worker is put together. The engine gives its workers the policies of the kernel's tables instead.
#include "l7/dns/bind.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "bpf/bind.h"
#include "bpf/state.h"
#include "l7/dns/detail.h"
#include "l7/dns/lookups.h"
#include "l7/dns/udp.h"
#include "l7/pattern.h"
#include "napi/convert.h"
#include "napi/stream.h"
#include "napi/work.h"

namespace tandem {
namespace {

using namespace l7;
using Napi::CallbackInfo;
using Napi::Env;
using Napi::Value;

std::shared_ptr<const Pattern> to_pattern(const Value& value, const char* what) {
  std::string expression = to_string(value, what), error;
  auto pattern = Pattern::make(expression, error);
  if (!pattern) bad_argument(std::string(what) + " " + expression + ": " + error);
  return pattern;
}

Stance to_stance(const Value& value) {
  constexpr std::pair<const char*, Stance> stances[] = {
      {"absent", Stance::absent}, {"open", Stance::open}, {"refused", Stance::refused}, {"asks", Stance::asks}, {"unknown", Stance::unknown}};
  const std::string text = to_string(value, "stance");
  for (const auto& [name, stance] : stances) {
    if (text == name) return stance;
  }
  bad_argument("unknown stance " + text);
}

End to_end(const Value& value, const char* what) {
  auto object = to_object(value, what);
  End end;
  end.stance = to_stance(object.Get("stance"));
  end.identity = to_u32(object.Get("identity"), "identity");
  end.endpoint = to_u32(object.Get("endpoint"), "endpoint");
  end.policy_set = to_u32(object.Get("policySet"), "policySet");
  auto sets = to_array(object.Get("anyOf"), "anyOf");
  for (uint32_t each = 0; each < sets.Length(); each++) {
    auto given = to_object(sets.Get(each), "anyOf[]");
    auto set = std::make_shared<RuleSet>();
    set->id = to_u32(given.Get("id"), "id");
    set->protocol = Protocol::dns;
    auto rules = to_array(given.Get("patterns"), "patterns");
    for (uint32_t rule = 0; rule < rules.Length(); rule++) set->dns.push_back({to_pattern(rules.Get(rule), "patterns[]")});
    end.any_of.push_back(std::move(set));
  }
  return end;
}

std::shared_ptr<const dns::NamesOfSets> to_names(const Value& value) {
  auto array = to_array(value, "names");
  auto names = std::make_shared<dns::NamesOfSets>();
  for (uint32_t each = 0; each < array.Length(); each++) {
    auto object = to_object(array.Get(each), "names[]");
    names->emplace(to_u32(object.Get("policySet"), "policySet"), to_pattern(object.Get("pattern"), "pattern"));
  }
  return names;
}

const char* name_of(Verdict verdict) {
  constexpr const char* names[] = {"forwarded", "denied", "refused", "redirected", "failed"};
  return names[static_cast<size_t>(verdict)];
}

using Lines = Stream<std::string>;

class Everywhere : public dns::Surroundings {
 public:
  Everywhere(Demands demands, std::shared_ptr<Lines> lines) : demands_(std::move(demands)), lines_(std::move(lines)) {}

  const Demands& demands(const dns::Path&) override {
    if (has_new_.load(std::memory_order_relaxed)) {
      std::lock_guard lock(mutex_);
      has_new_ = false;
      used_ = demands_;
    }
    return used_;
  }

  // From any thread.
  void set(Demands&& demands) {
    std::lock_guard lock(mutex_);
    demands_ = std::move(demands);
    has_new_ = true;
  }

  bool flush(uint64_t) override { return false; }

  void record(const dns::Path& path, const Demands&, Record&& record) override {
    if (!lines_ || !lines_->has_room()) return;
    lines_->push("{\"verdict\":\"" + std::string(name_of(record.verdict)) + "\",\"reason\":\"" + record.reason + "\",\"ruleSet\":" +
                 std::to_string(record.rules) + ",\"ingress\":" + (record.ingress ? "true" : "false") + ",\"client\":\"" +
                 dns::text_of(path.client.address) + "\",\"server\":\"" + dns::text_of(path.server.address) + "\"" +
                 (record.detail.empty() ? "" : "," + record.detail) + "}");
  }

 private:
  std::mutex mutex_;  // of what was set
  Demands demands_;
  std::atomic<bool> has_new_{true};
  Demands used_;  // of the worker's thread
  const std::shared_ptr<Lines> lines_;
};

Demands to_demands(const Value& value) {
  auto demands = to_object(value, "demands");
  return {to_end(demands.Get("egress"), "egress"), to_end(demands.Get("ingress"), "ingress")};
}

class BoundDns : public Background {
 public:
  BoundDns(Env env, const Napi::Object& options, Napi::Function on_lookups, const Value& on_record)
      : Background("dns"),
        shared_(std::make_shared<dns::Shared>()),
        lookups_(std::make_shared<dns::LookupStream>(env, "dns", on_lookups, SIZE_MAX, dns::lookup_arguments)) {
    if (!on_record.IsNull()) {
      lines_ = std::make_shared<Lines>(env, "dns records", to_function(on_record, "onRecord"), 4096,
                                       [](Env to, std::string& line) { return std::vector<napi_value>{Napi::String::New(to, line)}; });
    }
    try {
      configure(options);
    } catch (...) {
      release();
      throw;
    }
  }

  void stop() override { worker_.reset(); }

  void close(Env env) override {
    lookups_->close(env);
    if (lines_) lines_->close(env);
  }

  void release() override {
    lookups_->release();
    if (lines_) lines_->release();
  }

  dns::Shared& shared() { return *shared_; }

  void set(Demands&& demands) { everywhere_->set(std::move(demands)); }

 private:
  void configure(const Napi::Object& options) {
    dns::Options& limits = shared_->options;
    limits.denied = to_bool(options.Get("noName"), "noName") ? dns::Code::no_name : dns::Code::refused;
    limits.most_delay = to_u32(options.Get("mostDelay"), "mostDelay", 60'000);
    limits.server_timeout = to_u32(options.Get("serverTimeout"), "serverTimeout", 60'000);
    limits.most_questions = to_u32(options.Get("mostQuestions"), "mostQuestions", 65'536);
    dns::NamesOptions memory;
    memory.least_ttl = to_u32(options.Get("leastTtl"), "leastTtl", 604'800);
    shared_->names = std::make_shared<dns::Names>(memory);
    shared_->names->publish(to_names(options.Get("names")));
    shared_->names->on_lookups([stream = lookups_, names = shared_->names.get()] { stream->push(names->take()); });
    auto everywhere = std::make_unique<Everywhere>(to_demands(options.Get("demands")), lines_);
    everywhere_ = everywhere.get();
    dns::UdpOptions udp;
    udp.mark = to_u32(options.Get("mark"), "mark");
    udp.sockets.emplace_back(to_fd(options.Get("socket")));
    worker_ = std::make_unique<dns::UdpWorker>(std::move(udp), shared_, std::move(everywhere));
  }

  const std::shared_ptr<dns::Shared> shared_;
  const std::shared_ptr<dns::LookupStream> lookups_;
  std::shared_ptr<Lines> lines_;
  Everywhere* everywhere_ = nullptr;  // the worker's
  std::unique_ptr<dns::UdpWorker> worker_;
};

BoundDns& dns_of(const CallbackInfo& info) { return static_cast<BoundDns&>(*State::of(info.Env()).background(info[0], "dns")); }

dns::Shared& shared_of(const CallbackInfo& info) { return dns_of(info).shared(); }

Value open_dns(const CallbackInfo& info) {
  auto opened = std::make_shared<BoundDns>(info.Env(), to_object(info[0], "options"), to_function(info[1], "onLookups"), info[2]);
  return Napi::Number::New(info.Env(), State::of(info.Env()).add(std::shared_ptr<Background>(std::move(opened))));
}

Value dns_connected(const CallbackInfo& info) {
  shared_of(info).names->connected(to_bool(info[1], "connected"));
  return info.Env().Undefined();
}

Value dns_written(const CallbackInfo& info) {
  shared_of(info).names->written(dns::to_tickets(info[1]));
  return info.Env().Undefined();
}

Value dns_forget(const CallbackInfo& info) {
  auto& names = *shared_of(info).names;
  if (info[1].IsNull()) names.forget();
  else names.forget(to_string(info[1], "name"));
  return info.Env().Undefined();
}

Value dns_demand(const CallbackInfo& info) {
  dns_of(info).set(to_demands(info[1]));
  return info.Env().Undefined();
}

Value dns_counts(const CallbackInfo& info) {
  const dns::Shared& shared = shared_of(info);
  auto counts = dns_counts_of(info.Env(), shared);
  counts.Set("known", static_cast<double>(shared.names->size()));
  return counts;
}

Value close_dns(const CallbackInfo& info) { return close_background(info, "dns"); }

}  // namespace

Napi::Object dns_counts_of(Napi::Env env, const l7::dns::Shared& shared) {
  auto result = Napi::Object::New(env);
  const auto put = [&](const char* name, const std::atomic<uint64_t>& count) { result.Set(name, static_cast<double>(count.load())); };
  put("forwarded", shared.counts.forwarded);
  put("denied", shared.counts.denied);
  put("malformed", shared.counts.malformed);
  put("overloaded", shared.counts.overloaded);
  put("waited", shared.counts.waited);
  put("unruled", shared.counts.unruled);
  put("stray", shared.counts.stray);
  put("silent", shared.counts.silent);
  put("overdue", shared.counts.overdue);
  put("told", shared.names->counts.told);
  put("remembered", shared.names->counts.remembered);
  put("lost", shared.names->counts.lost);
  return result;
}

void bind_dns(Napi::Object exports) {
  define<open_dns>(exports, "openDns");
  define<dns_connected>(exports, "dnsConnected");
  define<dns_written>(exports, "dnsWritten");
  define<dns_forget>(exports, "dnsForget");
  define<dns_demand>(exports, "dnsDemand");
  define<dns_counts>(exports, "dnsCounts");
  define_async<close_dns>(exports, "closeDns");
}

}  // namespace tandem
