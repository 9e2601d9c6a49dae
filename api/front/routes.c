/* The route table. api/openapi.yaml describes the same rows; keep them together. */
#include "api/front/front.h"

const struct route routes[] = {
	{ "GET", "/healthz", ROUTE_OPEN, h_healthz },
	{ "HEAD", "/healthz", ROUTE_OPEN, h_healthz },
	{ "GET", "/info", 0, h_info },
	{ "GET", "/openapi.json", 0, h_openapi },
	{ "GET", "/metrics", 0, h_metrics },
	{ "POST", "/daemon/shutdown", 0, h_daemon_shutdown },

	{ "GET", "/hostgroup", 0, h_groups },
	{ "GET", "/hostgroup/{}/nodes", 0, h_group_nodes },
	{ "POST", "/hostgroup/{}/nodes", ROUTE_BODY, h_create },
	{ "DELETE", "/hostgroup/{}/nodes/{}", 0, h_delete },
	{ "GET", "/nodes", 0, h_nodes },
	{ "GET", "/nodes/stats", 0, h_stats_all },
	{ "GET", "/node/{}/stats", 0, h_stats_one },

	{ "GET", "/secrets", 0, h_secrets },
	{ "POST", "/secrets", ROUTE_BODY, h_secret_create },
	{ "PATCH", "/secrets/{}", ROUTE_BODY, h_secret_patch },
	{ "DELETE", "/secrets/{}", 0, h_secret_delete },

	/* before /vm/{}: "commits" is never a VM */
	{ "GET", "/vm/commits", 0, h_no_such },
	{ "DELETE", "/vm/commits/{}", 0, h_no_such },
	{ "POST", "/vm/commits/{}/fork", 0, h_no_such },

	{ "GET", "/vm/{}", 0, h_describe },
	{ "GET", "/vm/{}/tags", 0, h_tags_get },
	{ "PATCH", "/vm/{}/tags", ROUTE_BODY, h_tags_patch },
	{ "GET", "/vm/{}/logs", 0, h_logs },
	{ "GET", "/vm/{}/health", 0, h_health },
	{ "HEAD", "/vm/{}/health", 0, h_health },
	{ "POST", "/vm/{}/shutdown", ROUTE_BODY, h_shutdown },
	{ "POST", "/vm/{}/pause", 0, h_pause },
	{ "POST", "/vm/{}/resume", 0, h_resume },
	{ "POST", "/vm/{}/relaunch", 0, h_relaunch },
	{ "POST", "/vm/{}/suspend", 0, h_not_yet },
	{ "POST", "/vm/{}/restore", 0, h_not_yet },
	{ "POST", "/vm/{}/commit", 0, h_not_yet },

	{ "POST", "/vm/{}/exec", ROUTE_STREAM, h_exec },
	{ "GET", "/vm/{}/exec", 0, h_bg_list },
	{ "GET", "/vm/{}/exec/{}", 0, h_bg_info },
	{ "DELETE", "/vm/{}/exec/{}", 0, h_bg_reap },
	{ "GET", "/vm/{}/exec/{}/logs", 0, h_bg_logs },
	{ "POST", "/vm/{}/exec/{}/kill", ROUTE_BODY, h_bg_kill },
	{ "GET", "/vm/{}/exec/{}/wait-exit", 0, h_bg_wait },

	{ "GET", "/vm/{}/cp", 0, h_cp_out },
	{ "POST", "/vm/{}/cp", ROUTE_STREAM, h_cp_in },
	{ "GET", "/vm/{}/fs/readdir", 0, h_readdir },
	{ "GET", "/vm/{}/fs/stat", 0, h_stat },
	{ "POST", "/vm/{}/fs/mkdir", ROUTE_BODY, h_mkdir },
	{ "DELETE", "/vm/{}/fs/remove", 0, h_remove },
	{ "GET", "/vm/{}/fs/watch", 0, h_watch },
	{ "GET", "/vm/{}/shell", 0, h_shell },
	{ "GET", "/vm/{}/forward", 0, h_forward },
};
const unsigned n_routes = ARRAY_LEN(routes);
