// SPDX-License-Identifier: Apache-2.0
// Reads a ring buffer on a thread of its own: woken by the kernel at a fill level, else by a timer, so that producers do not
// pay for a wake-up a record. While nobody takes the batches nothing is read: the programs then find the ring full and count
// what they lose.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "bpf/kernel.h"

namespace tandem {

struct Ring::Inner {
  std::shared_ptr<Map> map;
  uint32_t record_size = 0, interval_ms = 1;
  std::shared_ptr<Sink<RingBatch>> sink;
  Descriptor wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Descriptor epoll{epoll_create1(EPOLL_CLOEXEC)};
  std::unique_ptr<ring_buffer, decltype(&ring_buffer__free)> ring{nullptr, ring_buffer__free};
  std::thread thread;
  RingBatch batch;

  static constexpr uint32_t most_records = 1024;
  static constexpr int batch_full = -1;

  // Records of another size cannot be ours; they are passed over. A negative result ends the round behind this record.
  static int take(void* self, void* data, size_t size) {
    auto* inner = static_cast<Inner*>(self);
    if (size != inner->record_size) return 0;
    const auto* bytes = static_cast<const uint8_t*>(data);
    inner->batch.records.insert(inner->batch.records.end(), bytes, bytes + size);
    return ++inner->batch.count >= most_records ? batch_full : 0;
  }

  // Moves what is in the ring into the sink, as far as there is room; false: there was none.
  bool drain() {
    for (;;) {
      if (!sink->has_room()) return false;
      int result = ring_buffer__consume(ring.get());
      if (batch.count > 0) sink->push(std::exchange(batch, {}));
      if (result != batch_full) return true;
    }
  }

  void watch(int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event)) throw Failure(errno, "wait for ring buffer", map->name);
  }

  void run() {
    bool stopping = false;
    while (!stopping) {
      epoll_event events[3];
      int ready = epoll_wait(epoll.get(), events, 3, static_cast<int>(interval_ms));
      for (int i = 0; i < ready; i++) {
        stopping |= events[i].data.fd == wake.get();
        uint64_t count;
        if (events[i].data.fd == sink->room_fd()) (void)!read(sink->room_fd(), &count, sizeof(count));
      }
      drain();
    }
  }
};

Ring::Ring(std::shared_ptr<Map> map, uint32_t record_size, uint32_t interval_ms, std::shared_ptr<Sink<RingBatch>> sink)
    : inner_(std::make_unique<Inner>()) {
  inner_->map = std::move(map);
  inner_->record_size = record_size;
  inner_->interval_ms = interval_ms ? interval_ms : 1;
  inner_->sink = std::move(sink);
  inner_->ring.reset(ring_buffer__new(inner_->map->fd.get(), Inner::take, inner_.get(), nullptr));
  if (!inner_->ring) throw Failure(errno, "open ring buffer", inner_->map->name);
  // Edge-triggered: only the kernel's own wake-up counts, not that a record without one lies there (that is the timer's).
  inner_->watch(inner_->map->fd.get(), EPOLLIN | EPOLLET);
  inner_->watch(inner_->wake.get(), EPOLLIN);
  inner_->watch(inner_->sink->room_fd(), EPOLLIN);
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
