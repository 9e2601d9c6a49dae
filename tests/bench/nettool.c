/*
 * nettool: one end of a TCP measurement, static, for guests and hosts alike. One connection, then it ends.
 *   nettool sink PORT                take bytes until the end, answer how many as decimal and a line break
 *   nettool send HOST PORT MIB       send that much and wait for the answer; prints nanoseconds from the first byte to the answer
 *   nettool echo PORT                give every byte back
 *   nettool ask HOST PORT N          N times one byte there and back; prints nanoseconds for all
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (1u << 18)

static char chunk[CHUNK];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int die(const char *what)
{
	perror(what);
	exit(1);
}

static int accept_one(const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0), fd;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 1))
		die("listen");
	fd = accept(s, NULL, NULL);
	return fd < 0 ? die("accept") : fd;
}

static int connect_to(const char *host, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int one = 1, s = -1;

	inet_pton(AF_INET, host, &a.sin_addr);
	for (int i = 0; i < 100; i++) { /* the other end may still be starting */
		s = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(s, (struct sockaddr *)&a, sizeof(a)) == 0)
			break;
		close(s);
		s = -1;
		usleep(100000);
	}
	if (s < 0)
		die("connect");
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return s;
}

static int sink(const char *port)
{
	int fd = accept_one(port);
	uint64_t total = 0;
	ssize_t n;

	while ((n = read(fd, chunk, CHUNK)) > 0)
		total += (uint64_t)n;
	dprintf(fd, "%llu\n", (unsigned long long)total);
	return n < 0;
}

static int send_all(const char *host, const char *port, uint64_t mib)
{
	int fd = connect_to(host, port);
	uint64_t left = mib << 20, start;
	char answer[32] = "";

	memset(chunk, 'x', CHUNK);
	for (start = now_ns(); left;) {
		ssize_t n = write(fd, chunk, left < CHUNK ? left : CHUNK);

		if (n <= 0)
			die("write");
		left -= (uint64_t)n;
	}
	shutdown(fd, SHUT_WR);
	if (read(fd, answer, sizeof(answer) - 1) <= 0 || strtoull(answer, NULL, 10) != mib << 20)
		die("the other end did not get all of it");
	printf("%llu\n", (unsigned long long)(now_ns() - start));
	return 0;
}

static int echo(const char *port)
{
	int fd = accept_one(port), one = 1;
	ssize_t n;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while ((n = read(fd, chunk, CHUNK)) > 0)
		if (write(fd, chunk, (size_t)n) != n)
			die("write");
	return n < 0;
}

static int ask(const char *host, const char *port, unsigned times)
{
	int fd = connect_to(host, port);
	uint64_t start = now_ns();

	for (unsigned i = 0; i < times; i++)
		if (write(fd, "?", 1) != 1 || read(fd, chunk, 1) != 1)
			die("ask");
	printf("%llu\n", (unsigned long long)(now_ns() - start));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "sink"))
		return sink(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "send"))
		return send_all(argv[2], argv[3], strtoull(argv[4], NULL, 10));
	if (argc == 3 && !strcmp(argv[1], "echo"))
		return echo(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "ask"))
		return ask(argv[2], argv[3], (unsigned)atoi(argv[4]));
	fprintf(stderr, "usage: nettool sink PORT | send HOST PORT MIB | echo PORT | ask HOST PORT N\n");
	return 2;
}
