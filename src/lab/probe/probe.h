/* SPDX-License-Identifier: Apache-2.0 */
/* The lab's prober: one small process in the network namespace of a pod, node or outside host that is server and client at once.
 * It listens where it is told, opens the connections that it is told, and says what came of each. It judges nothing.
 *
 * stdin, a command per line:
 *   listen tcp|udp|sctp PORT                      answer there, on every address; again is no error
 *   listen http|kafka PORT                        as tcp, but answer requests of HTTP/1.1 or Kafka and greet nobody, until `listen tcp`
 *   listen dns PORT                               likewise, over UDP, too
 *   record NAME ADDRESS                           the server of DNS has it, too; names without addresses are answered without
 *   forget-records                                the server of DNS has no addresses any more
 *   try ID tcp|udp|sctp SOURCE DESTINATION PORT   open a connection; SOURCE "-": the kernel's choice
 *   try ID open SOURCE DESTINATION PORT           open a connection of TCP, and wait for no more
 *   try ID icmp SOURCE DESTINATION TYPE           send a message of that type (ICMPv6 for IPv6 addresses)
 *   ask ID WIDTH SOURCE DESTINATION PORT HEX      send these bytes: WIDTH 0 as a datagram, else over TCP behind their length of so many bytes
 *   forget                                        give up everything that was tried
 *   sync NUMBER                                   say so when everything before is done
 * stdout, a line per event:
 *   ready                     it serves
 *   answer ID MS NAME         NAME answered after MS milliseconds ("-": an echo reply or a connection, which name nobody)
 *   said ID MS HEX            what was asked was answered with these bytes
 *   refused ID WHY            a reset, an ABORT, an ICMP error, or the kernel's own no: WHY is an errno name
 *   failed ID WHY             it could not even be tried
 *   synced NUMBER
 *   arrived ID                an ICMP message of the prober that tried ID arrived here
 */
#ifndef TANDEM_LAB_PROBE_H
#define TANDEM_LAB_PROBE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Starts every payload; the id of the try follows in decimal digits. */
#define TOKEN "tandem-probe "
#define NAME_MAX_LENGTH 200

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* What a readiness event belongs to. First member of everything that waits for one. */
struct watch {
	void (*ready)(struct watch *watch, uint32_t events);
	int fd;
};

struct try {
	struct watch watch;
	struct try *next;
	uint32_t id;
	int protocol;
	union address source, destination;
	/* host order; the type for ICMP */
	uint16_t port;
	bool done;
	int64_t started_ms, next_send_ms;
	/* Sends it once more, for protocols without retransmission. NULL: nothing to repeat. */
	void (*send)(struct try *try);
	/* TCP: the answer so far */
	char line[NAME_MAX_LENGTH + 2];
	size_t length;
	/* Of `ask`. */
	struct exchange *exchange;
};

extern char own_name[NAME_MAX_LENGTH + 1];

/* watch.c */
/* Says what failed and ends the process. */
_Noreturn void die(const char *what);
int64_t now_ms(void);
void watch_open(void);
void watch_add(struct watch *watch, uint32_t events);
void watch_change(struct watch *watch, uint32_t events);
/* Calls those that are ready, once. timeout_ms -1: until there is one. */
void watch_wait(int timeout_ms);

/* tries.c */
/* NULL: it could not even be tried, which is said. */
struct try *new_try(uint32_t id, const char *source, const char *destination, unsigned port);
struct try *find_try(uint32_t id);
bool any_try(void);
/* Ends a try and says what came of it. */
void answered(struct try *try, const char *name);
void refused(struct try *try, int error);
void failed(struct try *try, int error);
void say_arrived(uint32_t id);
/* Of which all has been said. */
void end_try(struct try *try);
/* Frees those that have ended. all: ends the others, too. */
void sweep_tries(bool all);
/* Sends those again that are not answered. */
void resend_tries(void);
socklen_t address_length(const union address *address);
/* Of the token in a payload; 0: there is none (ids start at 1). */
uint32_t token_id(const void *payload, size_t length);

/* tcp.c, udp.c, sctp.c, icmp.c: `open` sockets that serve always, `listen` on a port, `start` a try. 0 or an errno. */
enum speech { SPEAKS_NAME, SPEAKS_HTTP, SPEAKS_DNS, SPEAKS_KAFKA };
int tcp_listen(uint16_t port, enum speech speech);
void tcp_start(struct try *try);
void tcp_start_open(struct try *try);
int udp_listen(uint16_t port, enum speech speech);
void udp_start(struct try *try);
void sctp_open(void);
int sctp_listen(uint16_t port);
void sctp_start(struct try *try);
void icmp_open(void);
void icmp_start(struct try *try);

/* Sockets on their way to the destination. False: it was said why not. */
bool tcp_connect(struct try *try);
bool udp_connect(struct try *try);
uint16_t port_of(int fd);

/* exchange.c */
void exchange_start(struct try *try, unsigned width, const char *hex);

/* length.c: width is in bytes. */
size_t message_length(const uint8_t *bytes, unsigned width);
void put_message_length(uint8_t *bytes, unsigned width, size_t length);

/* dns.c, kafka.c: length of the answer to a whole message; 0: none. The room is of some hundred bytes at least. */
size_t dns_answer(const uint8_t *query, size_t length, uint8_t *answer, size_t room);
bool dns_record(const char *name, const char *address);
void dns_forget(void);
size_t kafka_answer(const uint8_t *request, size_t length, uint8_t *answer, size_t room);

/* raw.c: a raw socket that tells and takes the local address of each message. */
int raw_open(int family, int protocol);
struct raw_message {
	union address peer, local;
	/* After the IP header. */
	uint8_t *payload;
	size_t length;
	uint8_t buffer[2048];
};
/* False when nothing (more) is there. */
bool raw_receive(int fd, int family, struct raw_message *message);
/* 0 or an errno. local->any.sa_family 0: the kernel's choice. */
int raw_send(int fd, const union address *local, const union address *peer, const void *data, size_t length);

#endif
