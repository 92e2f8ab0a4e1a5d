// SPDX-License-Identifier: Apache-2.0
/*
 * What a lab does for each of its pods that takes a program otherwise: `ip` twice for a namespace, nsenter and sh for each command in it. Starting
 * programs is most of what a lab's kubelet costs.
 *
 *   tandem-lab-sandbox serve                          namespaces on demand: "add NAME" and "del NAME" on stdin, "ok" or "failed ERROR WHAT" for
 *                                                     each on stdout, in their order; ends with stdin
 *   tandem-lab-sandbox enter NETNS CGROUP COMMAND…    becomes the command, in the namespace (a path; "-": the present one) and the cgroup (a path)
 *
 * Namespaces are those of `ip netns`: a file below /run/netns that the namespace is mounted on. A new one has its loopback device up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "/run/netns"

/* NULL: it worked; else what did not, with errno. */
static const char *loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return "socket";
	error = ioctl(fd, SIOCSIFFLAGS, &request) ? errno : 0;
	close(fd);
	errno = error;
	return error ? "lo" : NULL;
}

/* `own` is the namespace to come back to. Where that fails the process is of no use any more. */
static const char *add(const char *path, int own)
{
	const char *failure = NULL;
	int error = 0;
	int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);

	if (fd < 0)
		return "open";
	close(fd);
	if (unshare(CLONE_NEWNET))
		failure = "unshare";
	else if (mount("/proc/self/ns/net", path, "none", MS_BIND, NULL))
		failure = "mount";
	else
		failure = loopback_up();
	error = errno;
	if (setns(own, CLONE_NEWNET)) {
		perror("tandem-lab-sandbox: setns");
		_exit(1);
	}
	if (failure) {
		umount2(path, MNT_DETACH);
		unlink(path);
	}
	errno = error;
	return failure;
}

/* One that is not there, or not mounted, is no failure. */
static const char *delete(const char *path)
{
	if (umount2(path, MNT_DETACH) && errno != ENOENT && errno != EINVAL)
		return "umount";
	if (unlink(path) && errno != ENOENT)
		return "unlink";
	return NULL;
}

static int serve(void)
{
	char line[512], name[256], path[sizeof(FOLDER) + sizeof(name) + 1];
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (own < 0) {
		perror("tandem-lab-sandbox: /proc/self/ns/net");
		return 1;
	}
	mkdir(FOLDER, 0755);
	while (fgets(line, sizeof(line), stdin)) {
		const char *failure;
		char verb[4];

		if (sscanf(line, "%3s %255s", verb, name) != 2 || strchr(name, '/') || name[0] == '.') {
			fprintf(stderr, "tandem-lab-sandbox: not a command: %s", line);
			return 2;
		}
		snprintf(path, sizeof(path), FOLDER "/%s", name);
		if (!strcmp(verb, "add")) {
			failure = add(path, own);
		} else if (!strcmp(verb, "del")) {
			failure = delete(path);
		} else {
			fprintf(stderr, "tandem-lab-sandbox: not a command: %s", line);
			return 2;
		}
		if (failure)
			printf("failed %s %s\n", strerrorname_np(errno), failure);
		else
			printf("ok\n");
		fflush(stdout);
	}
	return 0;
}

static int fail(const char *what)
{
	fprintf(stderr, "tandem-lab-sandbox: %s: %s\n", what, strerror(errno));
	return errno == ENOENT ? 127 : 126;
}

static int enter(const char *netns, const char *cgroup, char **command)
{
	char path[4096];
	int fd;

	if (strcmp(netns, "-")) {
		fd = open(netns, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || setns(fd, CLONE_NEWNET))
			return fail(netns);
	}
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	// 0 stands for the process that writes.
	if (fd < 0 || write(fd, "0", 1) != 1)
		return fail(path);
	execvp(command[0], command);
	return fail(command[0]);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "serve"))
		return serve();
	if (argc >= 5 && !strcmp(argv[1], "enter"))
		return enter(argv[2], argv[3], argv + 4);
	fprintf(stderr, "usage: tandem-lab-sandbox serve | enter NETNS CGROUP COMMAND...\n");
	return 2;
}
