/* The YAML keys as structs, exactly as written (lib/yaml fills them); only config*.c include this. */
#ifndef API_CORE_CONFIG_KEYS_H
#define API_CORE_CONFIG_KEYS_H

#include "lib/yaml/yaml.h"

struct keys_ca { unsigned line; struct yaml_flag generate; struct yaml_strs files; };
struct keys_network {
	unsigned line;
	struct yaml_str mode, bridge, tap_prefix, gateway, range, parent, audit;
	struct yaml_strs addresses, allow, drop;
	struct yaml_flag ipv6;
	struct yaml_num bytes_per_s, packets_per_s;
};
struct keys_disk { unsigned line; struct yaml_num size; struct yaml_str file; struct yaml_flag read_only; };
struct keys_group {
	unsigned line;
	struct yaml_str name, storage, userdata, userdata_file, sleep_action, image, kernel, kernel_file, initrd_file;
	struct yaml_num count, vcpu, ram_gb, ram_mb, ram_bytes, storage_size, gpu_count, cpu_weight, max_vms, max_vcpus, max_ram, max_disk;
	struct yaml_flag persistent, share_home, rosetta;
	struct yaml_strs dns_servers, publish;
	struct yaml_maps disks; /* struct keys_disk */
	struct yaml_num disk_bytes_per_s, disk_iops;
	struct keys_ca ca;
	struct keys_network network;
};
struct keys_auth { unsigned line; struct yaml_flag enabled; struct yaml_str token; };
struct keys_tls { unsigned line; struct yaml_flag enabled; struct yaml_str cert_file, key_file; };
struct keys_api { unsigned line; struct yaml_num port; struct yaml_str bind_address, socket; struct keys_auth auth; struct keys_tls tls; };
struct keys_ssh { unsigned line; struct yaml_num port; struct yaml_str bind_address; };
struct keys_config {
	unsigned line;
	struct yaml_maps host_groups; /* struct keys_group */
	struct yaml_str github_user, image, kernel_image, kernel, kernel_file, initrd_file, hypervisor, network_name;
	struct yaml_strs ssh_keys;
	struct yaml_flag graceful_shutdown, insecure_registry;
	struct yaml_num ram_overcommit, disk_overcommit, vm_io_bytes_per_s, vm_io_iops;
	const struct yaml_node *pci;
	struct keys_api api;
	struct keys_ssh ssh;
};
struct keys_root { unsigned line; struct keys_config config; };

extern const struct yaml_key config_root_keys[], config_group_keys[];

#endif
