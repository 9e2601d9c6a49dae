#include "api/core/config_keys.h"

#include "api/core/config.h"
#include "api/core/publish_spec.h"

#define AT(field) offsetof(struct KEYS, field)

#define KEYS keys_ca
static const struct yaml_key ca_keys[] = {
	{ "generate", Y_FLAG, AT(generate) },
	{ "files", Y_STRS, AT(files) },
	{ NULL },
};
#undef KEYS
#define KEYS keys_network
static const struct yaml_key network_keys[] = {
	{ "mode", Y_STR, AT(mode) },
	{ "bridge", Y_STR, AT(bridge) },
	{ "tap_prefix", Y_STR, AT(tap_prefix) },
	{ "gateway", Y_STR, AT(gateway) },
	{ "range", Y_STR, AT(range) },
	{ "parent", Y_STR, AT(parent) },
	{ "addresses", Y_STRS, AT(addresses), ADDR_PINNED_MAX },
	{ "allow", Y_STRS, AT(allow), 256 },
	{ "drop", Y_STRS, AT(drop), 256 },
	{ "bytes_per_s", Y_SIZE, AT(bytes_per_s) },    /* ours */
	{ "packets_per_s", Y_NUM, AT(packets_per_s) }, /* ours */
	{ "audit", Y_STR, AT(audit), 0 },
	{ "ipv6", Y_FLAG, AT(ipv6) }, /* ours */
	{ NULL },
};
#undef KEYS
#define KEYS keys_disk
static const struct yaml_key disk_keys[] = { /* ours */
	{ "size", Y_SIZE, AT(size) },
	{ "file", Y_STR, AT(file) },
	{ "read_only", Y_FLAG, AT(read_only) },
	{ NULL },
};
#undef KEYS
#define KEYS keys_group
const struct yaml_key config_group_keys[] = {
	{ "name", Y_STR, AT(name) },
	{ "count", Y_NUM, AT(count) },
	{ "vcpu", Y_NUM, AT(vcpu) },
	{ "ram_gb", Y_NUM, AT(ram_gb) },
	{ "ram_mb", Y_NUM, AT(ram_mb) },
	{ "ram_bytes", Y_NUM, AT(ram_bytes) },
	{ "storage", Y_STR, AT(storage) },
	{ "storage_size", Y_SIZE, AT(storage_size) },
	{ "persistent", Y_FLAG, AT(persistent) },
	{ "userdata", Y_STR, AT(userdata) },
	{ "userdata_file", Y_STR, AT(userdata_file) },
	{ "dns_servers", Y_STRS, AT(dns_servers) },
	{ "gpu_count", Y_NUM, AT(gpu_count) },
	{ "cpu_weight", Y_NUM, AT(cpu_weight) },   /* ours */
	{ "max_vms", Y_NUM, AT(max_vms) },         /* ours: quotas of the group */
	{ "max_vcpus", Y_NUM, AT(max_vcpus) },
	{ "max_ram", Y_SIZE, AT(max_ram) },
	{ "max_disk", Y_SIZE, AT(max_disk) },
	{ "ca", Y_MAP, AT(ca), 0, ca_keys },
	{ "network", Y_MAP, AT(network), 0, network_keys },
	{ "share_home", Y_FLAG, AT(share_home) },
	{ "rosetta", Y_FLAG, AT(rosetta) },
	{ "sleep_action", Y_STR, AT(sleep_action) },
	{ "image", Y_STR, AT(image) },             /* ours: per group */
	{ "kernel", Y_STR, AT(kernel) },           /* ours */
	{ "kernel_file", Y_STR, AT(kernel_file) }, /* ours: per group */
	{ "initrd_file", Y_STR, AT(initrd_file) }, /* ours */
	{ "publish", Y_STRS, AT(publish), PUBLISH_MAX }, /* ours */
	{ "disks", Y_MAPS, AT(disks), GROUP_DISKS_MAX, disk_keys, sizeof(struct keys_disk) }, /* ours */
	{ "disk_bytes_per_s", Y_SIZE, AT(disk_bytes_per_s) }, /* ours */
	{ "disk_iops", Y_NUM, AT(disk_iops) },     /* ours */
	{ NULL },
};
#undef KEYS
#define KEYS keys_auth
static const struct yaml_key auth_keys[] = {
	{ "enabled", Y_FLAG, AT(enabled) },
	{ "token", Y_STR, AT(token) },
	{ NULL },
};
#undef KEYS
#define KEYS keys_tls
static const struct yaml_key tls_keys[] = { /* ours */
	{ "enabled", Y_FLAG, AT(enabled) },
	{ "cert_file", Y_STR, AT(cert_file) },
	{ "key_file", Y_STR, AT(key_file) },
	{ NULL },
};
#undef KEYS
#define KEYS keys_api
static const struct yaml_key api_keys[] = {
	{ "port", Y_NUM, AT(port), 65535 },
	{ "bind_address", Y_STR, AT(bind_address) },
	{ "socket", Y_STR, AT(socket) },
	{ "auth", Y_MAP, AT(auth), 0, auth_keys },
	{ "tls", Y_MAP, AT(tls), 0, tls_keys },
	{ NULL },
};
#undef KEYS
#define KEYS keys_ssh
static const struct yaml_key ssh_keys[] = {
	{ "port", Y_NUM, AT(port), 65535 },
	{ "bind_address", Y_STR, AT(bind_address) },
	{ NULL },
};
#undef KEYS
#define KEYS keys_config
static const struct yaml_key config_keys[] = {
	{ "host_groups", Y_MAPS, AT(host_groups), GROUPS_MAX, config_group_keys, sizeof(struct keys_group) },
	{ "github_user", Y_STR, AT(github_user) },
	{ "ssh_keys", Y_STRS, AT(ssh_keys) },
	{ "image", Y_STR, AT(image) },
	{ "kernel_image", Y_STR, AT(kernel_image) },
	{ "kernel", Y_STR, AT(kernel) },           /* ours */
	{ "kernel_file", Y_STR, AT(kernel_file) },
	{ "initrd_file", Y_STR, AT(initrd_file) }, /* ours */
	{ "hypervisor", Y_STR, AT(hypervisor) },
	{ "graceful_shutdown", Y_FLAG, AT(graceful_shutdown) },
	{ "ram_overcommit", Y_NUM, AT(ram_overcommit) },   /* ours */
	{ "disk_overcommit", Y_NUM, AT(disk_overcommit) }, /* ours */
	{ "vm_io_bytes_per_s", Y_SIZE, AT(vm_io_bytes_per_s) }, /* ours */
	{ "vm_io_iops", Y_NUM, AT(vm_io_iops) },           /* ours */
	{ "insecure_registry", Y_FLAG, AT(insecure_registry) },
	{ "network_name", Y_STR, AT(network_name) },
	{ "pci", Y_NODE, AT(pci) },
	{ "api", Y_MAP, AT(api), 0, api_keys },
	{ "ssh", Y_MAP, AT(ssh), 0, ssh_keys },
	{ NULL },
};
#undef KEYS

const struct yaml_key config_root_keys[] = {
	{ "config", Y_MAP, offsetof(struct keys_root, config), 0, config_keys },
	{ NULL },
};
