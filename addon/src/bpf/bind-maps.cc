// SPDX-License-Identifier: Apache-2.0
// The bpf half of the binding, of maps and what is made of them: their entries, BTF, sweeps and rings.
#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "bpf/bind.h"
#include "bpf/kernel.h"
#include "bpf/maglev.h"
#include "napi/stream.h"
#include "napi/work.h"

namespace tandem {

namespace {

using Napi::CallbackInfo;
using Napi::Env;
using Napi::Object;
using Napi::Value;

Value open_pinned(const CallbackInfo& info) {
  std::string path = to_string(info[0], "path");
  int fd = bpf_obj_get(path.c_str());
  if (fd < 0) throw Failure(errno, "open pinned map", path);
  auto map = describe_map(fd, path);
  // The kernel cuts names to 15 characters; the pin has the whole one.
  std::string pinned = path.substr(path.rfind('/') + 1);
  if (pinned.compare(0, map->name.size(), map->name) == 0) map->name = pinned;
  return map_info(info.Env(), *map, State::of(info.Env()).add(map));
}

Value close_map(const CallbackInfo& info) {
  State::of(info.Env()).close_map(info[0]);
  return info.Env().Undefined();
}

void add_members(Env env, Napi::Array& members, const btf* types, uint32_t id, const char* of) {
  int resolved = btf__resolve_type(types, id);
  if (resolved < 0) return;
  const btf_type* type = btf__type_by_id(types, resolved);
  if (!btf_is_struct(type)) return;
  const btf_member* member = btf_members(type);
  for (int i = 0; i < btf_vlen(type); i++, member++) {
    Object row = Object::New(env);
    row.Set("of", of);
    row.Set("name", btf__name_by_offset(types, member->name_off));
    row.Set("offsetBits", btf_member_bit_offset(type, i));
    const uint32_t bits = btf_member_bitfield_size(type, i);
    row.Set("sizeBits", Napi::Number::New(env, bits ? bits : static_cast<double>(btf__resolve_size(types, member->type)) * 8));
    members.Set(members.Length(), row);
  }
}

std::string type_name(const btf* types, uint32_t id) {
  int resolved = id ? btf__resolve_type(types, id) : -1;
  return resolved < 0 ? "" : btf__name_by_offset(types, btf__type_by_id(types, resolved)->name_off);
}

Value map_btf(const CallbackInfo& info) {
  Env env = info.Env();
  auto map = State::of(env).map(info[0]);
  bpf_map_info details{};
  uint32_t length = sizeof(details);
  if (bpf_obj_get_info_by_fd(map->fd.get(), &details, &length)) throw Failure(errno, "read map info of", map->name);
  if (!details.btf_id) return env.Null();
  std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_from_kernel_by_id(details.btf_id), btf__free);
  if (!types) return env.Null();
  Object result = Object::New(env);
  auto members = Napi::Array::New(env);
  add_members(env, members, types.get(), details.btf_key_type_id, "key");
  add_members(env, members, types.get(), details.btf_value_type_id, "value");
  result.Set("keyType", type_name(types.get(), details.btf_key_type_id));
  result.Set("valueType", type_name(types.get(), details.btf_value_type_id));
  result.Set("members", members);
  return result;
}

Bytes sized(const Value& value, size_t size, const char* what) {
  Bytes bytes = to_bytes(value, what);
  if (bytes.size() != size) bad_argument(std::string(what) + " must be " + std::to_string(size) + " bytes, not " + std::to_string(bytes.size()));
  return bytes;
}

Value map_lookup(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  Bytes key = sized(info[1], map->key_size, "key"), value(map->value_bytes());
  if (bpf_map_lookup_elem(map->fd.get(), key.data(), value.data()) == 0) return from_bytes(info.Env(), value);
  if (errno == ENOENT) return info.Env().Null();
  throw Failure(errno, "read from map", map->name);
}

Value map_update(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  Bytes key = sized(info[1], map->key_size, "key"), value = sized(info[2], map->value_bytes(), "value");
  if (bpf_map_update_elem(map->fd.get(), key.data(), value.data(), to_u32(info[3], "flags")))
    throw Failure(errno, "write to map", map->name + " (" + std::to_string(map->max_entries) + " entries at most)");
  return info.Env().Undefined();
}

Value map_delete(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  Bytes key = sized(info[1], map->key_size, "key");
  if (bpf_map_delete_elem(map->fd.get(), key.data()) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno == ENOENT) return Napi::Boolean::New(info.Env(), false);
  throw Failure(errno, "delete from map", map->name);
}

Value batch_result(Env env, uint64_t& done) {
  Object result = Object::New(env);
  result.Set("done", Napi::Number::New(env, static_cast<double>(done)));
  return result;
}

Value map_update_batch(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  uint32_t count = to_u32(info[3], "count");
  Bytes keys = sized(info[1], size_t{count} * map->key_size, "keys");
  Bytes values = sized(info[2], size_t{count} * map->value_bytes(), "values");
  return promise_of<uint64_t>(
      info.Env(), [map, count, keys = std::move(keys), values = std::move(values)] { return update_batch(*map, keys, values, count); },
      batch_result);
}

Value map_delete_batch(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  uint32_t count = to_u32(info[2], "count");
  Bytes keys = sized(info[1], size_t{count} * map->key_size, "keys");
  return promise_of<uint64_t>(info.Env(), [map, count, keys = std::move(keys)] { return delete_batch(*map, keys, count); }, batch_result);
}

Value bind_maglev_table(const CallbackInfo& info) {
  std::vector<uint16_t> weights;
  if (!info[1].IsNull()) {
    if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint16_array)
      bad_argument("weights must be a Uint16Array or null");
    const auto array = info[1].As<Napi::Uint16Array>();
    weights.assign(array.Data(), array.Data() + array.ElementLength());
  }
  return from_bytes(info.Env(), maglev_table(to_bytes(info[0], "backends"), weights, to_u32(info[2], "slots")));
}

Value bind_dump(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  return promise_of<Dump>(info.Env(), [map] { return dump_map(*map); }, [](Env env, Dump& dump) -> Value {
    Object result = Object::New(env);
    result.Set("keys", from_bytes(env, dump.keys));
    result.Set("values", from_bytes(env, dump.values));
    result.Set("count", dump.count);
    return result;
  });
}

using Counts = std::pair<uint64_t, uint64_t>;

Value sweep_with(const CallbackInfo& info, Counts (*sweep)(const Map&, const Timeouts&)) {
  auto map = State::of(info.Env()).map(info[0]);
  auto t = to_object(info[1], "timeouts");
  auto seconds = [&](const char* name) { return to_u32(t.Get(name), name); };
  Timeouts timeouts{seconds("tcpOpening"), seconds("tcpEstablished"), seconds("tcpClosing"), seconds("udpUnreplied"),
                    seconds("udpReplied"), seconds("icmp"), seconds("other"), seconds("service")};
  return promise_of<Counts>(info.Env(), [map, timeouts, sweep] { return sweep(*map, timeouts); }, [](Env env, Counts& counts) -> Value {
    Object result = Object::New(env);
    result.Set("seen", Napi::Number::New(env, static_cast<double>(counts.first)));
    result.Set("deleted", Napi::Number::New(env, static_cast<double>(counts.second)));
    return result;
  });
}

Value bind_sweep(const CallbackInfo& info) { return sweep_with(info, sweep_conntrack); }
Value bind_sweep_nat(const CallbackInfo& info) { return sweep_with(info, sweep_nat); }

// A ring whose batches go to a JavaScript function. At most 16 batches of 1024 records wait for it.
class BoundRing : public Background {
 public:
  BoundRing(Env env, std::shared_ptr<Map> map, uint32_t record_size, uint32_t interval_ms, Napi::Function callback)
      : Background("ring"), stream_(std::make_shared<Stream<RingBatch>>(env, "ring", callback, 16, arguments)) {
    try {
      ring_ = std::make_unique<Ring>(std::move(map), record_size, interval_ms, stream_);
    } catch (...) {
      stream_->release();
      throw;
    }
  }

  void stop() override { ring_->stop(); }
  void close(Env env) override { stream_->close(env); }
  void release() override { stream_->release(); }

 private:
  static std::vector<napi_value> arguments(Env env, RingBatch& batch) {
    return {from_bytes(env, batch.records), Napi::Number::New(env, batch.count)};
  }

  std::shared_ptr<Stream<RingBatch>> stream_;
  std::unique_ptr<Ring> ring_;
};

Value open_ring(const CallbackInfo& info) {
  auto& state = State::of(info.Env());
  auto map = state.map(info[0]);
  uint32_t record_size = to_u32(info[1], "recordSize"), interval = to_u32(info[2], "intervalMs", INT32_MAX);
  if (record_size == 0) bad_argument("recordSize must not be 0");
  auto ring = std::make_shared<BoundRing>(info.Env(), map, record_size, interval, to_function(info[3], "onBatch"));
  return Napi::Number::New(info.Env(), state.add(std::shared_ptr<Background>(std::move(ring))));
}

Value close_ring(const CallbackInfo& info) { return close_background(info, "ring"); }

}  // namespace

Napi::Object map_info(Napi::Env env, const Map& map, uint32_t handle) {
  Napi::Object info = Napi::Object::New(env);
  info.Set("name", map.name);
  info.Set("handle", handle);
  info.Set("type", map.type);
  info.Set("keySize", map.key_size);
  info.Set("valueSize", map.value_size);
  info.Set("maxEntries", map.max_entries);
  info.Set("flags", map.flags);
  info.Set("id", map.id);
  return info;
}

Napi::Value close_background(const Napi::CallbackInfo& info, const char* kind) {
  auto background = State::of(info.Env()).take_background(info[0], kind);
  return promise_of<int>(
      info.Env(), [background] { background->stop(); return 0; },
      [background](Napi::Env env, int&) -> Napi::Value {
        background->close(env);
        background->release();
        return env.Undefined();
      });
}

void bind_maps(Napi::Object exports) {
  define<open_pinned>(exports, "openPinnedMap");
  define<close_map>(exports, "closeMap");
  define<map_btf>(exports, "mapBtf");
  define<map_lookup>(exports, "mapLookup");
  define<map_update>(exports, "mapUpdate");
  define<map_delete>(exports, "mapDelete");
  define_async<map_update_batch>(exports, "mapUpdateBatch");
  define_async<map_delete_batch>(exports, "mapDeleteBatch");
  define<bind_maglev_table>(exports, "maglevTable");
  define_async<bind_dump>(exports, "mapDump");
  define_async<bind_sweep>(exports, "sweepConntrack");
  define_async<bind_sweep_nat>(exports, "sweepNat");
  define<open_ring>(exports, "openRing");
  define_async<close_ring>(exports, "closeRing");
}

}  // namespace tandem
