/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "../prog/wire.bpf.c"
#include "rotate.h"

ROTATE_WIRE(from_wire)
