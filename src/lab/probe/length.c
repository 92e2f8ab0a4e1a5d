// SPDX-License-Identifier: Apache-2.0
/* The length that messages over TCP begin with, in network order. */
#include "probe.h"

size_t message_length(const uint8_t *bytes, unsigned width)
{
	size_t length = 0;

	for (unsigned i = 0; i < width; i++)
		length = length << 8 | bytes[i];
	return length;
}

void put_message_length(uint8_t *bytes, unsigned width, size_t length)
{
	for (unsigned i = width; i > 0; i--, length >>= 8)
		bytes[i - 1] = (uint8_t)length;
}
