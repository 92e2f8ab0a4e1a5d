// SPDX-License-Identifier: Apache-2.0
// The netlink half of the binding. Rows and changes cross as bytes (packed.h).
#include "netlink/bind.h"

#include "bpf/bind.h"
#include "napi/stream.h"
#include "napi/work.h"
#include "netlink/kernel_flows.h"
#include "netlink/monitor.h"
#include "netlink/packed.h"
#include "netns/netns.h"

namespace tandem {
namespace {

using Napi::CallbackInfo;
using Napi::Env;
using Napi::Value;

Value bytes_to_js(Env env, Bytes& bytes) { return from_bytes(env, bytes); }

template <typename Row>
Value list_in(const CallbackInfo& info, std::function<std::vector<Row>()> list) {
  return promise_of<Bytes>(
      info.Env(),
      [netns = to_optional_string(info[0], "netns"), list = std::move(list)] {
        Bytes packed;
        in_netns(netns, [&] { packed = pack(list()); });
        return packed;
      },
      bytes_to_js);
}

Value links(const CallbackInfo& info) { return list_in<LinkRow>(info, list_links); }
Value addresses(const CallbackInfo& info) { return list_in<AddressRow>(info, list_addresses); }
Value rules(const CallbackInfo& info) { return list_in<RuleRow>(info, list_rules); }
Value neighbours(const CallbackInfo& info) { return list_in<NeighbourRow>(info, list_neighbours); }

uint32_t or_zero(const Value& value, const char* what) { return value.IsNull() || value.IsUndefined() ? 0 : to_u32(value, what); }

Value routes(const CallbackInfo& info) {
  auto filter = to_object(info[1], "filter");
  uint32_t family = or_zero(filter.Get("family"), "family"), table = or_zero(filter.Get("table"), "table"),
           protocol = or_zero(filter.Get("protocol"), "protocol");
  return list_in<RouteRow>(info, [=] { return list_routes(static_cast<uint8_t>(family), table, static_cast<uint8_t>(protocol)); });
}

Value apply(const CallbackInfo& info) {
  return promise_of<std::vector<Reply>>(
      info.Env(),
      [netns = to_optional_string(info[0], "netns"), packed = to_bytes(info[1], "changes")] {
        std::vector<Message> messages = unpack_changes(packed);
        std::vector<Reply> replies;
        in_netns(netns, [&] {
          Connection netlink;
          replies = netlink.request_all(messages);
        });
        return replies;
      },
      [](Env env, std::vector<Reply>& replies) -> Value {
        auto failures = Napi::Array::New(env);
        for (uint32_t i = 0; i < replies.size(); i++) {
          if (!replies[i].error) continue;
          auto failure = Napi::Object::New(env);
          failure.Set("at", i);
          failure.Set("code", errno_name(replies[i].error));
          failure.Set("errno", replies[i].error);
          failure.Set("log", replies[i].text.empty() ? env.Null() : Value(Napi::String::New(env, replies[i].text)));
          failures.Set(failures.Length(), failure);
        }
        return failures;
      });
}

Value veth(const CallbackInfo& info) {
  auto object = to_object(info[1], "request");
  VethRequest request{to_string(object.Get("name"), "name"),
                      to_string(object.Get("peerName"), "peerName"),
                      to_string(object.Get("peerNetns"), "peerNetns"),
                      to_string(object.Get("alias"), "alias"),
                      to_u32(object.Get("mtu"), "mtu"),
                      to_optional_bytes(object.Get("mac"), "mac"),
                      to_optional_bytes(object.Get("peerMac"), "peerMac")};
  using Pair = std::pair<uint32_t, uint32_t>;
  return promise_of<Pair>(
      info.Env(),
      [netns = to_optional_string(info[0], "netns"), request = std::move(request)] {
        Pair made;
        in_netns(netns, [&] { made = create_veth(request); });
        return made;
      },
      [](Env env, Pair& made) -> Value {
        auto result = Napi::Object::New(env);
        result.Set("index", made.first);
        result.Set("peerIndex", made.second);
        return result;
      });
}

class BoundMonitor : public Background {
 public:
  BoundMonitor(Env env, const std::string& netns, uint32_t groups, uint32_t receive_bytes, Napi::Function callback)
      : Background("monitor"), stream_(std::make_shared<Stream<Monitor::Events>>(env, "netlink", callback, 64, arguments)) {
    try {
      monitor_ = std::make_unique<Monitor>(netns, groups, receive_bytes, stream_);
    } catch (...) {
      stream_->release();
      throw;
    }
  }

  void stop() override { monitor_->stop(); }
  void close(Env env) override { stream_->close(env); }
  void release() override { stream_->release(); }

 private:
  static std::vector<napi_value> arguments(Env env, Monitor::Events& events) { return {from_bytes(env, pack(events))}; }

  std::shared_ptr<Stream<Monitor::Events>> stream_;
  std::unique_ptr<Monitor> monitor_;
};

uint32_t group_bits(const Napi::Array& names) {
  uint32_t bits = 0;
  for (uint32_t i = 0; i < names.Length(); i++) {
    std::string name = to_string(names.Get(i), "groups[]");
    if (name == "link")
      bits |= RTMGRP_LINK;
    else if (name == "address")
      bits |= RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    else if (name == "route")
      bits |= RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    else if (name == "rule")
      bits |= RTMGRP_IPV4_RULE | 1u << (RTNLGRP_IPV6_RULE - 1);
    else if (name == "neighbour")
      bits |= RTMGRP_NEIGH;
    else
      bad_argument("unknown netlink group " + name);
  }
  return bits;
}

Value open_monitor(const CallbackInfo& info) {
  constexpr uint32_t usual_bytes = 4 << 20;
  bool given = info.Length() > 3 && !info[3].IsNull() && !info[3].IsUndefined();
  auto monitor = std::make_shared<BoundMonitor>(info.Env(), to_optional_string(info[0], "netns"), group_bits(to_array(info[1], "groups")),
                                                given ? to_u32(info[3], "receiveBytes", 1 << 30) : usual_bytes,
                                                to_function(info[2], "onEvents"));
  return Napi::Number::New(info.Env(), State::of(info.Env()).add(std::shared_ptr<Background>(std::move(monitor))));
}

Value flows(const CallbackInfo& info) {
  using Keys = std::vector<kernel_flow_key>;
  return promise_of<Keys>(
      info.Env(),
      [netns = to_optional_string(info[0], "netns")] {
        Keys keys;
        in_netns(netns, [&] { keys = redirected_flows(); });
        return keys;
      },
      [](Env env, Keys& keys) -> Value { return from_bytes(env, keys.data(), keys.size() * sizeof(kernel_flow_key)); });
}

Value close_monitor(const CallbackInfo& info) { return close_background(info, "monitor"); }

}  // namespace

void bind_netlink(Napi::Object exports) {
  define_async<links>(exports, "links");
  define_async<addresses>(exports, "addresses");
  define_async<routes>(exports, "routes");
  define_async<rules>(exports, "rules");
  define_async<neighbours>(exports, "neighbours");
  define_async<flows>(exports, "redirectedFlows");
  define_async<apply>(exports, "applyNetlink");
  define_async<veth>(exports, "createVeth");
  define<open_monitor>(exports, "openMonitor");
  define_async<close_monitor>(exports, "closeMonitor");
}

}  // namespace tandem
