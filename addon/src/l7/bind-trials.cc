// SPDX-License-Identifier: Apache-2.0
// The engine's parts one by one, without connections: what a filter makes of given bytes, and what the kernel's tables demand of given flows.
#include <string>

#include "l7/arguments.h"
#include "l7/bind.h"
#include "l7/choose.h"
#include "l7/dns/options.h"
#include "l7/ends.h"
#include "l7/read-tables.h"
#include "l7/runner.h"
#include "napi/convert.h"
#include "napi/work.h"

namespace tandem {
namespace {

using l7::Limits;
using l7::Side;
using Napi::CallbackInfo;
using Napi::Env;
using Napi::Value;

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

void bind_l7_trials(Napi::Object exports) {
  define<run_filter>(exports, "runL7Filter");
  define<read_demands>(exports, "readL7Demands");
}

}  // namespace tandem
