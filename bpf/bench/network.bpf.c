/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "../prog/network.bpf.c"
#include "rotate.h"

ROTATE(from_network, to_network)
