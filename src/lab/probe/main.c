// SPDX-License-Identifier: Apache-2.0
/* Commands, the event loop and the register of tries. See probe.h for the language. */
#define _GNU_SOURCE
#include "probe.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* How often a message without an answer is sent again: a lost packet must not look like a verdict. */
#define RESEND_MS 400
#define TICK_MS 50

char own_name[NAME_MAX_LENGTH + 1];
static int epoll_fd;
static struct try *tries;

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

void watch_add(struct watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch->fd, &event))
		die("epoll_ctl");
}

void watch_change(struct watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, watch->fd, &event))
		die("epoll_ctl");
}

socklen_t address_length(const union address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

struct try *find_try(uint32_t id)
{
	struct try *try;

	for (try = tries; try; try = try->next)
		if (try->id == id && !try->done)
			return try;
	return NULL;
}

uint32_t token_id(const void *payload, size_t length)
{
	const size_t token_length = sizeof(TOKEN) - 1;
	const char *found = memmem(payload, length, TOKEN, token_length);
	const char *end = (const char *)payload + length;
	uint32_t id = 0;

	if (!found)
		return 0;
	for (found += token_length; found < end && *found >= '0' && *found <= '9'; found++)
		id = id * 10 + (uint32_t)(*found - '0');
	return id;
}

/* Only marked: the loop frees it, since more events for it may be in the batch at hand. */
void end_try(struct try *try)
{
	try->done = true;
	if (try->watch.fd >= 0)
		close(try->watch.fd);
	try->watch.fd = -1;
}

void answered(struct try *try, const char *name)
{
	printf("answer %u %lld %s\n", try->id, (long long)(now_ms() - try->started_ms), name);
	end_try(try);
}

void refused(struct try *try, int error)
{
	printf("refused %u %s\n", try->id, strerrorname_np(error));
	end_try(try);
}

void failed(struct try *try, int error)
{
	printf("failed %u %s\n", try->id, strerrorname_np(error));
	end_try(try);
}

void say_arrived(uint32_t id)
{
	printf("arrived %u\n", id);
}

static void sweep(bool all)
{
	struct try **link = &tries;

	while (*link) {
		struct try *try = *link;

		if (!all && !try->done) {
			link = &try->next;
			continue;
		}
		if (!try->done)
			end_try(try);
		*link = try->next;
		free(try->exchange);
		free(try);
	}
}

static void resend(void)
{
	int64_t now = now_ms();
	struct try *try;

	for (try = tries; try; try = try->next) {
		if (try->done || !try->send || try->next_send_ms > now)
			continue;
		try->next_send_ms = now + RESEND_MS;
		try->send(try);
	}
}

static bool parse_address(const char *text, uint16_t port, union address *address)
{
	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons(port);
		return true;
	}
	return !strcmp(text, "-");
}

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

/* NULL: it could not even be tried, which is said. */
static struct try *new_try(uint32_t id, const char *source, const char *destination, unsigned port)
{
	struct try *try = calloc(1, sizeof(*try));

	if (!try)
		die("calloc");
	try->watch.fd = -1;
	try->id = id;
	try->port = (uint16_t)port;
	try->started_ms = now_ms();
	try->next_send_ms = try->started_ms + RESEND_MS;
	try->next = tries;
	tries = try;
	if (!parse_address(source, 0, &try->source) || !parse_address(destination, (uint16_t)port, &try->destination) ||
	    !try->destination.any.sa_family) {
		failed(try, EINVAL);
		return NULL;
	}
	return try;
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
		sweep(true);
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
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1");
	fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
	watch_add(&commands, EPOLLIN);
	icmp_open();
	sctp_open();
	printf("ready\n");
	for (;;) {
		struct epoll_event events[128];
		int count, i;

		fflush(stdout);
		count = epoll_wait(epoll_fd, events, 128, tries ? TICK_MS : -1);
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (i = 0; i < count; i++) {
			struct watch *watch = events[i].data.ptr;

			if (watch->fd >= 0)
				watch->ready(watch, events[i].events);
		}
		sweep(false);
		resend();
	}
}
