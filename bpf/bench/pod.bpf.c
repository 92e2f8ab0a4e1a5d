/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "../prog/pod.bpf.c"
#include "rotate.h"

ROTATE(from_pod, to_pod)
