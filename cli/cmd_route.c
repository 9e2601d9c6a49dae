/* vm route: what another machine needs to reach the VMs of this daemon's bridges by their addresses. */
#include "cli/cli.h"
#include "cli/answer.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct opt route_opts[] = {
	{ "os", 0, OPT_TEXT, "OS", "of the other machine: linux (default) or darwin" },
	{ "via", 0, OPT_TEXT, "ADDRESS", "the daemon's host as the other machine reaches it (default: its outgoing address, or the name in --url)" },
	{ 0 },
};

/* The address that this host sends from; nothing is sent. false: it has no network. */
static bool own_address(char out[INET_ADDRSTRLEN])
{
	struct sockaddr_in far = { .sin_family = AF_INET, .sin_port = htons(9) }, mine;
	socklen_t n = sizeof(mine);
	AUTO_FD fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, "192.0.2.1", &far.sin_addr);
	return fd >= 0 && !connect(fd, (const struct sockaddr *)&far, sizeof(far)) && !getsockname(fd, (struct sockaddr *)&mine, &n) &&
	       ntohl(mine.sin_addr.s_addr) >> 24 != 127 && inet_ntop(AF_INET, &mine.sin_addr, out, INET_ADDRSTRLEN);
}

static bool is_loopback(const char *host)
{
	struct in_addr a;
	return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || (inet_pton(AF_INET, host, &a) == 1 && ntohl(a.s_addr) >> 24 == 127);
}

/* "10.0.0.1/24" → "10.0.0.0/24". false: it is none. */
static bool network_of(const char *gateway, char out[INET_ADDRSTRLEN + 4])
{
	const char *slash = strchr(gateway, '/');
	char word[INET_ADDRSTRLEN] = "";
	struct in_addr a;
	uint64_t bits;
	if (!slash || (size_t)(slash - gateway) >= sizeof(word) || parse_u64(slash + 1, 32, &bits))
		return false;
	memcpy(word, gateway, (size_t)(slash - gateway));
	if (inet_pton(AF_INET, word, &a) != 1)
		return false;
	a.s_addr &= htonl(bits ? ~0u << (32 - bits) : 0);
	if (!inet_ntop(AF_INET, &a, word, sizeof(word)))
		return false;
	snprintf(out, INET_ADDRSTRLEN + 4, "%s/%u", word, (unsigned)bits);
	return true;
}

static void print_routes(const struct json_val *list, const char *via, bool darwin)
{
	unsigned n = 0;
	for (const struct json_val *g = json_first(list); g; g = json_next(list, g)) {
		const struct json_val *net = json_get(g, "network");
		const char *mode = "", *gateway = "";
		char cidr[INET_ADDRSTRLEN + 4];
		json_get_str(net, "mode", &mode);
		json_get_str(net, "gateway", &gateway);
		if (strcmp(mode, "bridge") != 0 || !network_of(gateway, cidr))
			continue;
		n++;
		printf(darwin ? "sudo route -n add -net %s %s\n" : "sudo ip route add %s via %s\n", cidr, via);
	}
	if (!n)
		out_note("note: no host group has a bridge: isolated VMs and those without network are reached by 'mica vm forward' and published ports");
}

static int run_route(struct args *a)
{
	const char *os = arg_text(a, "os"), *given = arg_text(a, "via");
	char via[256] = "";
	struct remote r;
	struct answer an;
	if (os && strcmp(os, "linux") != 0 && strcmp(os, "darwin") != 0)
		return out_error(EXIT_USAGE, "it is linux or darwin", "", "--os=%s", os);
	if (given && strspn(given, "0123456789abcdefABCDEFGHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz.:-") != strlen(given))
		return out_error(EXIT_USAGE, "it is an address or a host name", "", "--via=%s", given);
	int code = remote_init(&r, a);
	if (code)
		return code;
	if (given)
		snprintf(via, sizeof(via), "%s", given);
	else if (!r.is_unix && !is_loopback(r.host))
		snprintf(via, sizeof(via), "%s", r.host);
	else if (!own_address(via))
		return out_error(EXIT_FAIL, "this host has no route to other machines", "say its address with --via", "the host's address is not known");
	if (a->n_pos)
		out_note("note: %s is not read: the running daemon tells", a->pos[0]);
	code = remote_ask(&r, "GET", "/hostgroup", NULL, &an);
	if (code)
		return code;
	if (an.status != 200)
		code = remote_refused(&r, EXIT_FAIL, an.status, &an.text, "cannot list the host groups");
	else
		print_routes(json_root(&an.json), via, os && strcmp(os, "darwin") == 0);
	answer_done(&an);
	return code;
}

const struct cmd cmd_vm_route = { .group = "vm", .name = "route", .shortcut = "route", .synopsis = "[FILE]",
	.summary = "Print what makes another machine reach VMs on bridges by address", .opts = route_opts,
	.examples = "mica vm route\nmica vm route --via 192.168.1.10 --os darwin", .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_route };
