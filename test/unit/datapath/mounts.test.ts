import test from "ava";
import { staysInContainer } from "../../../src/datapath/mounts.ts";

const container = `21 1 0:40 / / rw,relatime - overlay overlay rw
22 21 0:22 / /sys ro,nosuid - sysfs sysfs ro
23 22 0:22 /fs/bpf /sys/fs/bpf rw,nosuid master:12 - sysfs sysfs rw
24 21 8:1 /var/lib/tandem /var/lib/tandem rw,relatime master:1 - ext4 /dev/sda1 rw
25 21 8:1 /run /run/with\\040space rw,relatime shared:4 master:1 - ext4 /dev/sda1 rw`;

test("below a mount that only follows the node's, what is mounted stays in the container", (t) => {
  t.true(staysInContainer(container, "/sys/fs/bpf"));
  t.true(staysInContainer(container, "/sys/fs/bpf/tandem"));
  t.false(staysInContainer(container, "/sys/fs"), "of its own mount nothing is known");
  t.false(staysInContainer(container, "/sys/fs/bpf2"));
  t.false(staysInContainer(container, "/run/with space/x"), "Bidirectional");
});

test("the last of several mounts at one place counts, and a node's own are its own", (t) => {
  const over = `${container}\n26 23 0:30 / /sys/fs/bpf rw - bpf bpf rw`;
  t.false(staysInContainer(over, "/sys/fs/bpf/tandem"));
  t.false(staysInContainer("27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw", "/sys/fs/bpf"));
  t.false(staysInContainer("", "/sys/fs/bpf"));
});
