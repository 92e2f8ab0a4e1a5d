// SPDX-License-Identifier: Apache-2.0
/* Commands, one after the other, and what is waited for. See probe.h for the language. */
#define _GNU_SOURCE
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS 50

char own_name[NAME_MAX_LENGTH + 1];

static void command_listen(const char *protocol, unsigned port)
{
	int error = 0;

	if (!strcmp(protocol, "sctp")) {
		error = sctp_listen((uint16_t)port);
	} else {
		enum speech speech = !strcmp(protocol, "http") ? SPEAKS_HTTP
				   : !strcmp(protocol, "dns") ? SPEAKS_DNS
				   : !strcmp(protocol, "kafka") ? SPEAKS_KAFKA
								: SPEAKS_NAME;

		if (strcmp(protocol, "udp"))
			error = tcp_listen((uint16_t)port, speech);
		if (!error && (speech == SPEAKS_DNS || !strcmp(protocol, "udp")))
			error = udp_listen((uint16_t)port, speech);
	}
	if (error) {
		errno = error;
		die("listen");
	}
}

static void start(struct try *try, const char *protocol)
{
	if (!strcmp(protocol, "tcp"))
		tcp_start(try);
	else if (!strcmp(protocol, "open"))
		tcp_start_open(try);
	else if (!strcmp(protocol, "udp"))
		udp_start(try);
	else if (!strcmp(protocol, "sctp"))
		sctp_start(try);
	else
		icmp_start(try);
}

static void command(const char *line)
{
	char protocol[8], source[64], destination[64], name[256];
	unsigned id, port, width;
	struct try *try;
	int hex = 0;

	if (sscanf(line, "listen %7s %u", protocol, &port) == 2)
		command_listen(protocol, port);
	else if (sscanf(line, "try %u %7s %63s %63s %u", &id, protocol, source, destination, &port) == 5) {
		try = new_try(id, source, destination, port);
		if (try)
			start(try, protocol);
	} else if (sscanf(line, "ask %u %u %63s %63s %u %n", &id, &width, source, destination, &port, &hex) == 5 && hex > 0 && width <= 4) {
		try = new_try(id, source, destination, port);
		if (try)
			exchange_start(try, width, line + hex);
	} else if (sscanf(line, "record %255s %63s", name, destination) == 2 && dns_record(name, destination))
		return;
	else if (!strcmp(line, "forget-records"))
		dns_forget();
	else if (sscanf(line, "sync %u", &id) == 1)
		printf("synced %u\n", id);
	else if (!strcmp(line, "forget"))
		sweep_tries(true);
	else {
		fprintf(stderr, "probe: not a command: %s\n", line);
		exit(2);
	}
}

/* Ends the process when its master is gone. */
static void commands_ready(struct watch *watch, uint32_t events)
{
	static char buffer[1 << 16];
	static size_t used;
	ssize_t got = read(watch->fd, buffer + used, sizeof(buffer) - used - 1);
	char *start = buffer, *newline;

	(void)events;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		exit(0);
	used += (size_t)got;
	buffer[used] = 0;
	while ((newline = strchr(start, '\n'))) {
		*newline = 0;
		command(start);
		start = newline + 1;
	}
	used -= (size_t)(start - buffer);
	memmove(buffer, start, used);
	if (used == sizeof(buffer) - 1)
		exit(2);
}

int main(int argc, char **argv)
{
	struct watch commands = {.ready = commands_ready, .fd = 0};
	struct rlimit files = {.rlim_cur = 65536, .rlim_max = 65536};

	if (argc != 2 || strlen(argv[1]) > NAME_MAX_LENGTH || !argv[1][0] || strpbrk(argv[1], " \n")) {
		fprintf(stderr, "usage: tandem-lab-probe NAME\n");
		return 2;
	}
	strcpy(own_name, argv[1]);
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	watch_open();
	fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
	watch_add(&commands, EPOLLIN);
	icmp_open();
	sctp_open();
	printf("ready\n");
	for (;;) {
		fflush(stdout);
		watch_wait(any_try() ? TICK_MS : -1);
		sweep_tries(false);
		resend_tries();
	}
}
