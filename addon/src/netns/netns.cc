// SPDX-License-Identifier: Apache-2.0
#include "netns/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <exception>
#include <thread>

#include "napi/failure.h"

namespace tandem {

void in_netns(const std::string& path, const std::function<void()>& work) {
  if (path.empty()) {
    work();
    return;
  }
  std::exception_ptr error;
  std::thread thread([&] {
    try {
      int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (fd < 0) throw Failure(errno, "open network namespace", path);
      int result = setns(fd, CLONE_NEWNET);
      int failed = errno;
      close(fd);
      if (result) throw Failure(failed, "enter network namespace", path);
      work();
    } catch (...) {
      error = std::current_exception();
    }
  });
  thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace tandem
