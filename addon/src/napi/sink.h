// SPDX-License-Identifier: Apache-2.0
// Where a thread of ours puts its batches. A sink that is full is not an error: the producer leaves what it has in the kernel,
// which counts what it then cannot keep.
#pragma once

namespace tandem {

template <typename Batch>
class Sink {
 public:
  virtual ~Sink() = default;
  virtual bool has_room() = 0;
  // An eventfd that is readable once there is room again: what a producer without room waits for, and reads.
  virtual int room_fd() const = 0;
  virtual void push(Batch batch) = 0;
};

}  // namespace tandem
