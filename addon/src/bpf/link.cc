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

// What a link is attached to, as BPF_OBJ_GET_INFO_BY_FD tells it. Debian 12's headers lack TCX in struct bpf_link_info.
struct LinkTarget {
  uint64_t cgroup_id = 0;
  uint32_t ifindex = 0;
  uint32_t attach_type = 0;  // 0: XDP, which has one only
};

LinkTarget target_of(int link, const std::string& where) {
  struct {
    uint32_t type, id, prog_id, pad;
    union {
      struct {
        uint32_t ifindex, attach_type;
      } device;  // xdp (no attach_type), tcx
      struct {
        uint64_t id;
        uint32_t attach_type;
      } cgroup;
    };
    uint8_t rest[128];
  } info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(link, reinterpret_cast<bpf_link_info*>(&info), &length)) throw Failure(errno, "read link info of", where);
  if (info.type == BPF_LINK_TYPE_CGROUP) return {info.cgroup.id, 0, info.cgroup.attach_type};
  if (info.type == BPF_LINK_TYPE_XDP) return {0, info.device.ifindex, BPF_XDP};
  return {0, info.device.ifindex, info.device.attach_type};
}

bool operator==(const LinkTarget& a, const LinkTarget& b) {
  return a.cgroup_id == b.cgroup_id && a.ifindex == b.ifindex && a.attach_type == b.attach_type;
}

struct LinkRequest {
  uint32_t attach_type, flags;
  int cgroup_fd;     // -1: a device
  LinkTarget target;
  std::string object;
};

// False: the link's target is gone, or it is another one.
bool replace_program(int link, const Program& program, const LinkRequest& request, const std::string& where) {
  LinkTarget target = target_of(link, where);
  if (!(target == request.target)) return false;
  if (bpf_link_update(link, program.fd.get(), nullptr) == 0) return true;
  if (errno == ENOLINK) return false;
  throw Failure(errno, "replace program by " + program.name + " on", request.object, "link " + where);
}

Attached attach_link(const Program& program, const LinkRequest& request, const std::string& pin, const std::shared_ptr<Descriptor>& kept) {
  bool stale = false;
  if (!pin.empty()) {
    Descriptor link(bpf_obj_get(pin.c_str()));
    if (link.get() < 0 && errno != ENOENT) throw Failure(errno, "open pinned link", pin);
    if (link.get() >= 0) {
      if (replace_program(link.get(), program, request, pin)) return {"updated", nullptr};
      stale = true;  // the device or cgroup behind it is gone, and its name and pin are used again
    }
  } else if (kept && replace_program(kept->get(), program, request, "without pin")) {
    return {"updated", kept};
  }
  LinkCreate attributes{static_cast<uint32_t>(program.fd.get()),
                        request.cgroup_fd < 0 ? request.target.ifindex : static_cast<uint32_t>(request.cgroup_fd), request.attach_type,
                        request.flags};
  auto link = std::make_shared<Descriptor>(link_create(attributes));
  if (link->get() < 0) throw Failure(errno, "attach " + program.name + " to", request.object);
  if (pin.empty()) return {"attached", link};
  if (stale && unlink(pin.c_str()) && errno != ENOENT) throw Failure(errno, "remove stale pin", pin);
  if (bpf_obj_pin(link->get(), pin.c_str())) throw Failure(errno, "pin link of " + request.object + " at", pin);
  return {"attached", nullptr};
}

Attached attach_device_link(const Program& program, const Device& device, uint32_t attach_type, uint32_t flags, const std::string& pin,
                            const std::shared_ptr<Descriptor>& kept) {
  Attached result{};
  // The kernel looks the interface up in the namespace of the caller.
  in_netns(device.netns, [&] {
    result = attach_link(program, {attach_type, flags, -1, {0, device.index, attach_type}, device_text(device)}, pin, kept);
  });
  return result;
}

}  // namespace

std::string device_text(const Device& device) {
  char name[IF_NAMESIZE] = "";
  const std::string number = "ifindex " + std::to_string(device.index);
  const std::string where = device.netns.empty() ? "" : " in " + device.netns;
  return if_indextoname(device.index, name) ? std::string(name) + " (" + number + ")" + where : number + where;
}

Attached attach_tc(const Program& program, const Device& device, bool ingress, bool tcx, const std::string& pin,
                   const std::shared_ptr<Descriptor>& kept) {
  if (tcx) return attach_device_link(program, device, ingress ? attach_tcx_ingress : attach_tcx_egress, 0, pin, kept);
  const char* word = nullptr;
  in_netns(device.netns, [&] { word = clsact_attach(device.index, ingress, program.fd.get(), program.name, device_text(device)); });
  return {word, nullptr};
}

void detach_clsact(const Device& device, bool ingress) {
  in_netns(device.netns, [&] { clsact_detach(device.index, ingress, device_text(device)); });
}

Attached attach_xdp(const Program& program, const Device& device, bool native, const std::string& pin,
                    const std::shared_ptr<Descriptor>& kept) {
  constexpr uint32_t skb_mode = 2, driver_mode = 4;
  return attach_device_link(program, device, BPF_XDP, native ? driver_mode : skb_mode, pin, kept);
}

Attached attach_cgroup(const Program& program, const std::string& path, uint32_t attach_type, const std::string& pin,
                       const std::shared_ptr<Descriptor>& kept) {
  Descriptor cgroup(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (cgroup.get() < 0) throw Failure(errno, "open cgroup", path);
  struct stat info;
  if (fstat(cgroup.get(), &info)) throw Failure(errno, "look at cgroup", path);
  return attach_link(program, {attach_type, 0, cgroup.get(), {info.st_ino, 0, attach_type}, path}, pin, kept);
}

void remove_pin(const std::string& path) {
  // Newer kernels free a link later when its last reference is the pin, but at once when it is a descriptor.
  Descriptor held(path.empty() ? -1 : bpf_obj_get(path.c_str()));
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
