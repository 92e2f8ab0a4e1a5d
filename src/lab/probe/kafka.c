// SPDX-License-Identifier: Apache-2.0
/* A broker of Kafka for what a run asks: it answers every request, by its number, with no error, nothing found, and its name. That is read by the run
 * alone, and is as long as the shortest answers of the protocol, whose error, or whose number of topics, comes first. */
#include "probe.h"
#include <string.h>

enum { HEAD = 8, NUMBER_AT = 4, NUMBER = 4, NOTHING = 6 };

size_t kafka_answer(const uint8_t *request, size_t length, uint8_t *answer, size_t room)
{
	size_t name = strlen(own_name);

	if (length < HEAD || room < NUMBER + NOTHING + name)
		return 0;
	memcpy(answer, request + NUMBER_AT, NUMBER);
	memset(answer + NUMBER, 0, NOTHING);
	memcpy(answer + NUMBER + NOTHING, own_name, name);
	return NUMBER + NOTHING + name;
}
