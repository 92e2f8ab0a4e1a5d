// SPDX-License-Identifier: Apache-2.0
// Kernels without TCX (before 6.6): the program is a cls_bpf filter in direct-action mode on the clsact qdisc. Priority 1,
// handle 1 is ours: setting it again replaces the program in place.
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <sys/socket.h>

#include "bpf/kernel.h"
#include "netlink/connection.h"

namespace tandem {
namespace {

constexpr uint32_t priority = 1, handle = 1;

tcmsg filter_of(uint32_t ifindex, bool ingress) {
  tcmsg body{};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = static_cast<int>(ifindex);
  body.tcm_parent = TC_H_MAKE(TC_H_CLSACT, ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
  body.tcm_handle = handle;
  body.tcm_info = TC_H_MAKE(priority << 16, htons(ETH_P_ALL));
  return body;
}

}  // namespace

const char* clsact_attach(uint32_t ifindex, bool ingress, int program_fd, const std::string& name, const std::string& object) {
  Connection netlink;
  Message qdisc(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  tcmsg root{};
  root.tcm_family = AF_UNSPEC;
  root.tcm_ifindex = static_cast<int>(ifindex);
  root.tcm_parent = TC_H_CLSACT;
  root.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  qdisc.body(root);
  qdisc.attribute_string(TCA_KIND, "clsact");
  Reply reply = netlink.request(qdisc);
  if (reply.error && reply.error != EEXIST) throw Failure(reply.error, "add clsact to", object, reply.text);

  // A new filter first, so that the answer says which it was.
  for (uint16_t flag : {NLM_F_EXCL, NLM_F_REPLACE}) {
    Message filter(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | flag);
    filter.body(filter_of(ifindex, ingress));
    filter.attribute_string(TCA_KIND, "bpf");
    size_t options = filter.open(TCA_OPTIONS | NLA_F_NESTED);
    filter.attribute_u32(TCA_BPF_FD, program_fd);
    filter.attribute_string(TCA_BPF_NAME, name);
    filter.attribute_u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    filter.close(options);
    reply = netlink.request(filter);
    if (!reply.error) return flag == NLM_F_EXCL ? "attached" : "updated";
    if (reply.error != EEXIST || flag == NLM_F_REPLACE) break;
  }
  throw Failure(reply.error, "attach " + name + " to", object, reply.text);
}

void clsact_detach(uint32_t ifindex, bool ingress, const std::string& object) {
  Connection netlink;
  Message filter(RTM_DELTFILTER, NLM_F_ACK);
  filter.body(filter_of(ifindex, ingress));
  filter.attribute_string(TCA_KIND, "bpf");
  Reply reply = netlink.request(filter);
  if (reply.error && reply.error != ENOENT && reply.error != EINVAL && reply.error != ENODEV)
    throw Failure(reply.error, "detach from", object, reply.text);
}

}  // namespace tandem
