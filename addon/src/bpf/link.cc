// SPDX-License-Identifier: Apache-2.0
// Attaching by links. Debian 12's libbpf knows no TCX, so links are made by the raw system call. A pinned link is found again
// and gets the new program atomically; removing the pin detaches.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstring>

#include "bpf/kernel.h"
#include "netns/netns.h"

namespace tandem {
namespace {

// enum bpf_attach_type of newer kernels than the headers (6.6).
constexpr uint32_t attach_tcx_ingress = 46, attach_tcx_egress = 47;

// The BPF_LINK_CREATE part of union bpf_attr, up to what TCX reads; the kernel wants the rest zero.
struct LinkCreate {
  uint32_t prog_fd, target, attach_type, flags;
  uint32_t relative_fd = 0, pad = 0;
  uint64_t expected_revision = 0;
  uint8_t rest[32] = {};
};

int link_create(LinkCreate attributes) {
  return static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attributes, sizeof(attributes)));
}

const char* attach_device_link(const Program& program, const Device& device, uint32_t attach_type, uint32_t flags,
                               const std::string& pin) {
  const char* result = nullptr;
  in_netns(device.netns, [&] {
    result = attach_link(program, attach_type, -1, device.index, flags, pin, device_text(device));
  });
  return result;
}

}  // namespace

std::string device_text(const Device& device) {
  char name[IF_NAMESIZE] = "?";
  if_indextoname(device.index, name);
  return std::string(name) + " (ifindex " + std::to_string(device.index) + ")";
}

const char* attach_link(const Program& program, uint32_t attach_type, int target_fd, uint32_t target_ifindex, uint32_t flags,
                        const std::string& pin, const std::string& object) {
  const std::string operation = "attach " + program.name + " to";
  if (!pin.empty()) {
    Descriptor link(bpf_obj_get(pin.c_str()));
    if (link.get() >= 0) {
      if (bpf_link_update(link.get(), program.fd.get(), nullptr) == 0) return "updated";
      // ENOLINK: the device behind the pinned link is gone (its name and pin were reused)
      if (errno != ENOLINK) throw Failure(errno, "replace program of", object, "pinned link " + pin);
      if (unlink(pin.c_str())) throw Failure(errno, "remove stale pin", pin);
    } else if (errno != ENOENT) {
      throw Failure(errno, "open pinned link", pin);
    }
  }
  LinkCreate attributes{static_cast<uint32_t>(program.fd.get()),
                        target_ifindex ? target_ifindex : static_cast<uint32_t>(target_fd), attach_type, flags};
  Descriptor link(link_create(attributes));
  if (link.get() < 0) throw Failure(errno, operation, object);
  if (pin.empty()) {
    link.release();  // lives as long as the process: for tests and probes
  } else if (bpf_obj_pin(link.get(), pin.c_str())) {
    throw Failure(errno, "pin link of " + object + " at", pin);
  }
  return "attached";
}

const char* attach_tc(const Program& program, const Device& device, bool ingress, bool tcx, const std::string& pin) {
  if (tcx) return attach_device_link(program, device, ingress ? attach_tcx_ingress : attach_tcx_egress, 0, pin);
  in_netns(device.netns, [&] {
    clsact_attach(device.index, ingress, program.fd.get(), program.name, "attach " + program.name + " to " + device_text(device));
  });
  return "attached";
}

void detach_tc(const Device& device, bool ingress, bool tcx, const std::string& pin) {
  if (tcx)
    remove_pin(pin);
  else
    in_netns(device.netns, [&] { clsact_detach(device.index, ingress, device_text(device)); });
}

const char* attach_xdp(const Program& program, const Device& device, bool native, const std::string& pin) {
  constexpr uint32_t skb_mode = 2, driver_mode = 4;
  return attach_device_link(program, device, BPF_XDP, native ? driver_mode : skb_mode, pin);
}

const char* attach_cgroup(const Program& program, const std::string& path, uint32_t attach_type, const std::string& pin) {
  Descriptor cgroup(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (cgroup.get() < 0) throw Failure(errno, "open cgroup", path);
  return attach_link(program, attach_type, cgroup.get(), 0, 0, pin, path);
}

void remove_pin(const std::string& path) {
  if (path.empty() || unlink(path.c_str()) == 0 || errno == ENOENT) return;
  throw Failure(errno, "remove pin", path);
}

const char* mount_bpffs(const std::string& path) {
  struct statfs info;
  if (statfs(path.c_str(), &info)) throw Failure(errno, "look at", path);
  if (info.f_type == BPF_FS_MAGIC) return "present";
  if (mount("bpf", path.c_str(), "bpf", 0, "mode=0700")) throw Failure(errno, "mount bpffs on", path);
  return "mounted";
}

}  // namespace tandem
