// SPDX-License-Identifier: Apache-2.0
// Maps: single entries, batches, dumps. Batches fall back to single calls where the kernel has none for a type.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>

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

}  // namespace

uint64_t update_batch(const Map& map, const Bytes& keys, const Bytes& values, uint32_t count) {
  size_t value_bytes = map.value_bytes();
  LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = 0, .flags = 0);
  uint32_t done = 0;
  if (count > 1) {
    uint32_t processed = count;
    if (bpf_map_update_batch(map.fd.get(), keys.data(), values.data(), &processed, &options) == 0) return processed;
    // The entry behind the processed ones failed: the single path below goes on there and names the error.
    if (!no_batch(errno)) done = std::min(processed, count);
  }
  for (uint32_t i = done; i < count; i++)
    if (bpf_map_update_elem(map.fd.get(), keys.data() + size_t{i} * map.key_size, values.data() + size_t{i} * value_bytes, BPF_ANY)) {
      if (i > 0) return i;  // what was written stays written; the caller goes on from here and sees the error then
      throw Failure(errno, "write to map", map.name + " (" + std::to_string(map.max_entries) + " entries at most)");
    }
  return count;
}

uint64_t delete_batch(const Map& map, const Bytes& keys, uint32_t count) {
  uint64_t deleted = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (bpf_map_delete_elem(map.fd.get(), keys.data() + size_t{i} * map.key_size) == 0)
      deleted++;
    else if (errno != ENOENT)
      throw Failure(errno, "delete from map", map.name);
  }
  return deleted;
}

Dump dump_map(const Map& map) {
  Dump dump;
  size_t value_bytes = map.value_bytes();
  const uint32_t slice = 4096;
  Bytes keys(size_t{slice} * map.key_size), values(size_t{slice} * value_bytes), cursor(std::max<size_t>(map.key_size, 8)), next(cursor.size());
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  bool first = true, batched = true;
  while (batched) {
    uint32_t count = slice;
    int error = bpf_map_lookup_batch(map.fd.get(), first ? nullptr : cursor.data(), next.data(), keys.data(), values.data(),
                                     &count, &options)
                    ? errno
                    : 0;
    if (error && error != ENOENT) {
      if (first && no_batch(error)) {
        batched = false;
        break;
      }
      throw Failure(error, "read map", map.name);
    }
    dump.keys.insert(dump.keys.end(), keys.begin(), keys.begin() + size_t{count} * map.key_size);
    dump.values.insert(dump.values.end(), values.begin(), values.begin() + size_t{count} * value_bytes);
    dump.count += count;
    if (error == ENOENT) return dump;
    cursor.swap(next);
    first = false;
  }
  // One by one: an entry that goes meanwhile is left out; if the walk's own position goes, the kernel starts again, so
  // the count is bounded by the map's size.
  Bytes key(map.key_size), value(value_bytes);
  const void* previous = nullptr;
  while (dump.count < map.max_entries && bpf_map_get_next_key(map.fd.get(), previous, key.data()) == 0) {
    if (bpf_map_lookup_elem(map.fd.get(), key.data(), value.data()) == 0) {
      dump.keys.insert(dump.keys.end(), key.begin(), key.end());
      dump.values.insert(dump.values.end(), value.begin(), value.end());
      dump.count++;
    }
    cursor = key;
    previous = cursor.data();
  }
  return dump;
}

}  // namespace tandem
