// SPDX-License-Identifier: Apache-2.0
// Reads a ring buffer on a thread of its own: woken by the kernel at a fill level, else by a timer, so that producers do not
// pay for a wake-up a record.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "bpf/kernel.h"

namespace tandem {

struct Ring::Inner {
  std::shared_ptr<Map> map;
  uint32_t record_size, interval_ms;
  Batch on_batch;
  Descriptor wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::unique_ptr<ring_buffer, decltype(&ring_buffer__free)> ring{nullptr, ring_buffer__free};
  std::thread thread;
  Bytes batch;
  uint32_t count = 0;

  // Records of another size cannot be ours; they are passed over.
  static int take(void* self, void* data, size_t size) {
    auto* inner = static_cast<Inner*>(self);
    if (size != inner->record_size) return 0;
    const auto* bytes = static_cast<const uint8_t*>(data);
    inner->batch.insert(inner->batch.end(), bytes, bytes + size);
    if (++inner->count >= 1024) inner->flush();
    return 0;
  }

  void flush() {
    if (count == 0) return;
    on_batch(std::move(batch), count);
    batch = {};
    count = 0;
  }

  void run() {
    pollfd fds[2] = {{ring_buffer__epoll_fd(ring.get()), POLLIN, 0}, {wake.get(), POLLIN, 0}};
    for (;;) {
      poll(fds, 2, static_cast<int>(interval_ms));
      ring_buffer__consume(ring.get());
      flush();
      if (fds[1].revents) return;
    }
  }
};

Ring::Ring(std::shared_ptr<Map> map, uint32_t record_size, uint32_t interval_ms, Batch on_batch) : inner_(std::make_unique<Inner>()) {
  inner_->map = std::move(map);
  inner_->record_size = record_size;
  inner_->interval_ms = interval_ms ? interval_ms : 1;
  inner_->on_batch = std::move(on_batch);
  inner_->ring.reset(ring_buffer__new(inner_->map->fd.get(), Inner::take, inner_.get(), nullptr));
  if (!inner_->ring) throw Failure(errno, "open ring buffer", inner_->map->name);
  inner_->thread = std::thread([inner = inner_.get()] { inner->run(); });
}

Ring::~Ring() { stop(); }

void Ring::stop() {
  if (!inner_->thread.joinable()) return;
  uint64_t one = 1;
  (void)!write(inner_->wake.get(), &one, sizeof(one));
  inner_->thread.join();
}

}  // namespace tandem
