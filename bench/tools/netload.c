/* SPDX-License-Identifier: Apache-2.0
 * A small load generator, so that both sides of a comparison run the same code with nothing but system calls in it.
 *   netload server PORT                     echoes ('r') or swallows ('s') what a connection sends, by its first byte
 *   netload rr ADDRESS PORT SECONDS         one byte there and back: latency and rate
 *   netload stream ADDRESS PORT SECONDS     one direction, 128 KiB writes: bits per second
 *   netload connect ADDRESS PORT SECONDS    connect() then reset: latency and rate
 * Prints one line of JSON. IPv4 and IPv6 addresses. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SAMPLES (1 << 22)

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static socklen_t parse(const char *text, const char *port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (void *)out;
	struct sockaddr_in6 *v6 = (void *)out;
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(atoi(port));
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(atoi(port));
		return sizeof(*v6);
	}
	fprintf(stderr, "netload: %s is not an address\n", text);
	exit(2);
}

static void serve(const char *port)
{
	static char buffer[1 << 18];
	static char mode[1 << 16];
	int one = 1, listener = socket(AF_INET6, SOCK_STREAM, 0), poll = epoll_create1(0);
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (void *)&any, sizeof(any)) || listen(listener, 4096))
		die("bind");
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, events[64];
	epoll_ctl(poll, EPOLL_CTL_ADD, listener, &ev);
	for (;;) {
		int n = epoll_wait(poll, events, 64, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) {
				int c = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
				if (c < 0)
					continue;
				setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
				mode[c & 0xffff] = 0;
				ev.data.fd = c;
				epoll_ctl(poll, EPOLL_CTL_ADD, c, &ev);
				continue;
			}
			ssize_t got = read(fd, buffer, sizeof(buffer));
			if (got <= 0) {
				if (got == 0 || errno != EAGAIN)
					close(fd);
				continue;
			}
			if (!mode[fd & 0xffff])
				mode[fd & 0xffff] = buffer[0];
			if (mode[fd & 0xffff] == 'r' && write(fd, buffer, got) < 0 && errno != EAGAIN)
				close(fd);
		}
	}
}

static int dial(const struct sockaddr_storage *to, socklen_t length)
{
	int one = 1, fd = socket(to->ss_family, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (const void *)to, length))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static void report(const char *mode, float *samples, size_t n, double seconds)
{
	qsort(samples, n, sizeof(*samples), by_value);
	printf("{\"mode\":\"%s\",\"samples\":%zu,\"rate\":%.1f,\"p50Us\":%.2f,\"p99Us\":%.2f}\n", mode, n, n / seconds,
	       n ? samples[n / 2] : 0.0, n ? samples[n * 99 / 100] : 0.0);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "server"))
		serve(argv[2]);
	if (argc != 5) {
		fprintf(stderr, "usage: netload server PORT | netload rr|stream|connect ADDRESS PORT SECONDS\n");
		return 2;
	}
	const char *mode = argv[1];
	struct sockaddr_storage to;
	socklen_t length = parse(argv[2], argv[3], &to);
	double seconds = atof(argv[4]), start = now_us(), end = start + seconds * 1e6;
	float *samples = malloc(MAX_SAMPLES * sizeof(float));
	size_t n = 0;

	if (!strcmp(mode, "connect")) {
		struct linger reset = {1, 0};
		while (n < MAX_SAMPLES && now_us() < end) {
			double before = now_us();
			int fd = socket(to.ss_family, SOCK_STREAM, 0);
			if (connect(fd, (void *)&to, length))
				die("connect");
			samples[n++] = now_us() - before;
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			close(fd);
		}
		report(mode, samples, n, (now_us() - start) / 1e6);
		return 0;
	}
	int fd = dial(&to, length);
	if (!strcmp(mode, "rr")) {
		char byte = 'r';
		while (n < MAX_SAMPLES && now_us() < end) {
			double before = now_us();
			if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
				die("rr");
			samples[n++] = now_us() - before;
		}
		report(mode, samples, n, (now_us() - start) / 1e6);
		return 0;
	}
	static char chunk[128 << 10];
	memset(chunk, 's', sizeof(chunk));
	double sent = 0;
	while (now_us() < end) {
		ssize_t w = write(fd, chunk, sizeof(chunk));
		if (w < 0)
			die("write");
		sent += w;
	}
	printf("{\"mode\":\"stream\",\"gbps\":%.3f}\n", sent * 8 / ((now_us() - start) * 1e3));
	return 0;
}
