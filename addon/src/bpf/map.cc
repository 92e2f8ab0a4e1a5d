// SPDX-License-Identifier: Apache-2.0
// Maps: single entries, batches, dumps. Batches fall back to single calls where the kernel has none for a type.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <unordered_set>

#include "bpf/kernel.h"

namespace tandem {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.release();
  }
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

int Descriptor::release() {
  int fd = fd_;
  fd_ = -1;
  return fd;
}

size_t Map::value_bytes() const {
  switch (type) {
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return static_cast<size_t>((value_size + 7) / 8 * 8) * std::max(1, libbpf_num_possible_cpus());
    default:
      return value_size;
  }
}

std::shared_ptr<Map> describe_map(int fd, const std::string& where) {
  auto map = std::make_shared<Map>();
  map->fd = Descriptor(fd);
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length)) throw Failure(errno, "read map info of", where);
  map->name = info.name;
  map->type = info.type;
  map->key_size = info.key_size;
  map->value_size = info.value_size;
  map->max_entries = info.max_entries;
  map->flags = info.map_flags;
  map->id = info.id;
  return map;
}

namespace {

// Kernels without a batch operation for a map type say so in different ways.
bool no_batch(int error) { return error == EINVAL || error == ENOTSUP || error == 524 /* ENOTSUPP */; }

Failure write_failure(int error, const Map& map) {
  return Failure(error, "write to map", map.name + " (" + std::to_string(map.max_entries) + " entries at most)");
}

// Batches walk hash tables by bucket and arrays by index; tries start anew when the walk's own position is deleted.
bool may_repeat(const Map& map) { return map.type == BPF_MAP_TYPE_LPM_TRIE; }

[[noreturn]] void restless(const Map& map) {
  throw Failure(EAGAIN, "read map", map.name, "entries were deleted faster than it could be read");
}

// Entries of a walk, end to end, without repetitions.
class Collected {
 public:
  Collected(const Map& map, bool may_repeat) : map_(map), may_repeat_(may_repeat) {}

  void add(const uint8_t* keys, const uint8_t* values, size_t count) {
    for (size_t i = 0; i < count; i++) {
      const uint8_t* key = keys + i * map_.key_size;
      if (may_repeat_ && !seen_.emplace(reinterpret_cast<const char*>(key), map_.key_size).second) continue;
      dump.keys.insert(dump.keys.end(), key, key + map_.key_size);
      dump.values.insert(dump.values.end(), values + i * map_.value_bytes(), values + (i + 1) * map_.value_bytes());
      dump.count++;
    }
  }

  Dump dump;

 private:
  const Map& map_;
  const bool may_repeat_;
  std::unordered_set<std::string> seen_;
};

// One by one: kernels without batches for this type.
void walk_single(const Map& map, const Slice& each) {
  Bytes key(map.key_size), value(map.value_bytes()), cursor;
  const void* previous = nullptr;
  // Twice the size: when the walk's own position goes, the kernel starts again.
  for (uint64_t steps = 0; steps < 2 * uint64_t{map.max_entries} + 16; steps++) {
    if (bpf_map_get_next_key(map.fd.get(), previous, key.data())) {
      if (errno == ENOENT) return;
      throw Failure(errno, "read map", map.name);
    }
    // an entry that goes meanwhile is left out
    if (bpf_map_lookup_elem(map.fd.get(), key.data(), value.data()) == 0)
      each(key.data(), value.data(), 1);
    else if (errno != ENOENT)
      throw Failure(errno, "read map", map.name);
    cursor = key;
    previous = cursor.data();
  }
  restless(map);
}

}  // namespace

void walk_map(const Map& map, const Slice& each) {
  constexpr uint32_t slice = 4096;
  Bytes keys(size_t{slice} * map.key_size), values(size_t{slice} * map.value_bytes());
  Bytes cursor(std::max<size_t>(map.key_size, 8)), next(cursor.size());
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  bool first = true;
  for (uint64_t steps = 0; steps < 2 * (uint64_t{map.max_entries} / slice) + 16; steps++) {
    uint32_t count = slice;
    const int error = bpf_map_lookup_batch(map.fd.get(), first ? nullptr : cursor.data(), next.data(), keys.data(), values.data(),
                                           &count, &options)
                          ? errno
                          : 0;
    // EINTR: the entry behind the position goes away again and again (kernels before 6.6)
    if ((first && no_batch(error)) || error == EINTR) return walk_single(map, each);
    if (error && error != ENOENT) throw Failure(error, "read map", map.name);
    each(keys.data(), values.data(), count);
    if (error == ENOENT) return;
    cursor.swap(next);
    first = false;
  }
  restless(map);
}

uint64_t update_batch(const Map& map, const Bytes& keys, const Bytes& values, uint32_t count) {
  const size_t value_bytes = map.value_bytes();
  LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = 0, .flags = 0);
  uint32_t done = 0;
  if (count > 1) {
    uint32_t processed = count;
    if (bpf_map_update_batch(map.fd.get(), keys.data(), values.data(), &processed, &options) == 0) return count;
    // The entry behind the processed ones failed: the single path below goes on there and names the error.
    if (!no_batch(errno)) done = std::min(processed, count);
  }
  for (uint32_t i = done; i < count; i++)
    if (bpf_map_update_elem(map.fd.get(), keys.data() + size_t{i} * map.key_size, values.data() + size_t{i} * value_bytes, BPF_ANY)) {
      if (i > 0) return i;  // what was written stays written; the caller goes on from here and sees the error then
      throw write_failure(errno, map);
    }
  return count;
}

uint64_t delete_batch(const Map& map, const Bytes& keys, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (bpf_map_delete_elem(map.fd.get(), keys.data() + size_t{i} * map.key_size) && errno != ENOENT)
      throw Failure(errno, "delete from map", map.name);
  return count;
}

Dump dump_map(const Map& map) {
  Collected collected(map, may_repeat(map));
  walk_map(map, [&](const uint8_t* keys, const uint8_t* values, size_t count) { collected.add(keys, values, count); });
  return std::move(collected.dump);
}

}  // namespace tandem
