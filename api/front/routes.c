/* The route table. api/openapi.yaml describes the same rows; keep them together. */
#include "api/front/front.h"

const struct route routes[] = {
	{ "GET", "/healthz", ROUTE_OPEN, h_healthz },
	{ "HEAD", "/healthz", ROUTE_OPEN, h_healthz },
	{ "GET", "/info", 0, h_info, SCOPE_READ },
	{ "GET", "/openapi.json", 0, h_openapi, SCOPE_READ },
	{ "GET", "/metrics", 0, h_metrics, SCOPE_READ },
	{ "POST", "/daemon/shutdown", 0, h_daemon_shutdown, SCOPE_ADMIN },

	{ "GET", "/hostgroup", 0, h_groups, SCOPE_READ },
	{ "POST", "/hostgroup", ROUTE_BODY, h_group_create, SCOPE_ADMIN },
	{ "PATCH", "/hostgroup/{}", ROUTE_BODY, h_group_change, SCOPE_ADMIN },
	{ "DELETE", "/hostgroup/{}", 0, h_group_delete, SCOPE_ADMIN },
	{ "GET", "/hostgroup/{}/nodes", 0, h_group_nodes, SCOPE_READ },
	{ "POST", "/hostgroup/{}/nodes", ROUTE_BODY, h_create, SCOPE_VM },
	{ "DELETE", "/hostgroup/{}/nodes/{}", 0, h_delete, SCOPE_VM },
	{ "GET", "/nodes", 0, h_nodes, SCOPE_READ },
	{ "GET", "/nodes/stats", 0, h_stats_all, SCOPE_READ },
	{ "GET", "/node/{}/stats", 0, h_stats_one, SCOPE_READ },

	{ "GET", "/secrets", 0, h_secrets, SCOPE_ADMIN },
	{ "POST", "/secrets", ROUTE_BODY, h_secret_create, SCOPE_ADMIN },
	{ "PATCH", "/secrets/{}", ROUTE_BODY, h_secret_patch, SCOPE_ADMIN },
	{ "DELETE", "/secrets/{}", 0, h_secret_delete, SCOPE_ADMIN },

	{ "GET", "/tokens", 0, h_tokens, SCOPE_ADMIN },
	{ "POST", "/tokens", ROUTE_BODY, h_token_create, SCOPE_ADMIN },
	{ "DELETE", "/tokens/{}", 0, h_token_revoke, SCOPE_ADMIN },

	/* before /vm/{}: "commits" is never a VM */
	{ "GET", "/vm/commits", 0, h_no_such, SCOPE_READ },
	{ "DELETE", "/vm/commits/{}", 0, h_no_such, SCOPE_VM },
	{ "POST", "/vm/commits/{}/fork", 0, h_no_such, SCOPE_VM },

	{ "GET", "/vm/{}", 0, h_describe, SCOPE_READ },
	{ "GET", "/vm/{}/tags", 0, h_tags_get, SCOPE_READ },
	{ "PATCH", "/vm/{}/tags", ROUTE_BODY, h_tags_patch, SCOPE_VM },
	{ "GET", "/vm/{}/net/chaos", 0, h_net_chaos, SCOPE_NET },
	{ "PATCH", "/vm/{}/net/chaos", ROUTE_BODY, h_net_chaos_change, SCOPE_NET },
	{ "DELETE", "/vm/{}/net/chaos", 0, h_net_heal, SCOPE_NET },
	{ "GET", "/vm/{}/net/stats", 0, h_net_stats, SCOPE_NET },
	{ "GET", "/vm/{}/logs", 0, h_logs, SCOPE_READ },
	{ "GET", "/vm/{}/health", 0, h_health, SCOPE_READ },
	{ "HEAD", "/vm/{}/health", 0, h_health, SCOPE_READ },
	{ "POST", "/vm/{}/shutdown", ROUTE_BODY, h_shutdown, SCOPE_VM },
	{ "POST", "/vm/{}/pause", 0, h_pause, SCOPE_VM },
	{ "POST", "/vm/{}/resume", 0, h_resume, SCOPE_VM },
	{ "POST", "/vm/{}/relaunch", 0, h_relaunch, SCOPE_VM },
	{ "POST", "/vm/{}/suspend", 0, h_not_yet, SCOPE_VM },
	{ "POST", "/vm/{}/restore", 0, h_not_yet, SCOPE_VM },
	{ "POST", "/vm/{}/commit", 0, h_not_yet, SCOPE_VM },

	{ "POST", "/vm/{}/exec", ROUTE_STREAM, h_exec, SCOPE_EXEC },
	{ "GET", "/vm/{}/exec", 0, h_bg_list, SCOPE_EXEC },
	{ "GET", "/vm/{}/exec/{}", 0, h_bg_info, SCOPE_EXEC },
	{ "DELETE", "/vm/{}/exec/{}", 0, h_bg_reap, SCOPE_EXEC },
	{ "GET", "/vm/{}/exec/{}/logs", 0, h_bg_logs, SCOPE_EXEC },
	{ "POST", "/vm/{}/exec/{}/kill", ROUTE_BODY, h_bg_kill, SCOPE_EXEC },
	{ "GET", "/vm/{}/exec/{}/wait-exit", 0, h_bg_wait, SCOPE_EXEC },

	{ "GET", "/vm/{}/cp", 0, h_cp_out, SCOPE_FILES },
	{ "POST", "/vm/{}/cp", ROUTE_STREAM, h_cp_in, SCOPE_FILES },
	{ "GET", "/vm/{}/fs/readdir", 0, h_readdir, SCOPE_FILES },
	{ "GET", "/vm/{}/fs/stat", 0, h_stat, SCOPE_FILES },
	{ "POST", "/vm/{}/fs/mkdir", ROUTE_BODY, h_mkdir, SCOPE_FILES },
	{ "DELETE", "/vm/{}/fs/remove", 0, h_remove, SCOPE_FILES },
	{ "GET", "/vm/{}/fs/watch", 0, h_watch, SCOPE_FILES },
	{ "GET", "/vm/{}/shell", 0, h_shell, SCOPE_EXEC },
	{ "GET", "/vm/{}/forward", 0, h_forward, SCOPE_NET },
};
const unsigned n_routes = ARRAY_LEN(routes);
