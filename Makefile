# mica: one non-recursive Makefile. `make help` lists the targets.
# Variables a builder may set: O (output folder), CC (gcc or clang), MICA_CACHE (slow things are kept there),
# LIBYAML_SRC BEARSSL_SRC LINUX_SRC (tarballs or folders for a build without the package registry).

O ?= build
CC = gcc
HOSTCC ?= gcc
AR = ar
LD = ld
MICA_CACHE ?= $(HOME)/.cache/mica
export LIBYAML_SRC BEARSSL_SRC LINUX_SRC ACCEPT_NEWER
VERSION := 0.1.0
MAKEFLAGS += --no-builtin-rules --no-builtin-variables
SHELL := /bin/bash
.SECONDARY:
.DELETE_ON_ERROR:

# What a fresh Debian 12 needs to build and to test. `make deps` installs what is missing.
PKGS_BUILD := gcc libc6-dev make patch musl-dev linux-libc-dev binutils flex bison bc libelf-dev libssl-dev xz-utils lz4 cpio \
	busybox-static e2fsprogs python3 dpkg-dev kmod ca-certificates git dwarves
PKGS_TEST := dnsmasq-base qemu-system-x86 qemu-utils nftables curl iproute2 iputils-ping iperf3 dnsutils tcpdump clang llvm libclang-rt-14-dev strace openssl procps zsh fish groff-base btrfs-progs mmdebstrap zstd

# ---- flags -------------------------------------------------------------------------------------------------------
MUSL := /usr/lib/x86_64-linux-musl
IS_CLANG := $(findstring clang,$(CC))
CC_INC = $(if $(IS_CLANG),$(shell $(CC) -print-resource-dir)/include,$(shell $(CC) -print-file-name=include))
LIBGCC = $(shell gcc -print-libgcc-file-name)
WARN := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wundef -Wvla -Wwrite-strings -Wformat=2 -Wnull-dereference -Wimplicit-fallthrough -Wdouble-promotion -Wno-missing-field-initializers \
	-Wno-format-nonliteral
WARN_gcc := -Wlogical-op -Wduplicated-cond -Wtrampolines
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=0 -fno-delete-null-pointer-checks -fno-strict-aliasing -fno-common
MUSL_INC = -nostdinc -isystem $(MUSL_INCLUDE) -isystem $(CC_INC) -isystem $(O)/deps/kheaders
MUSL_INCLUDE := /usr/include/x86_64-linux-musl
# For third-party libraries too: no warnings, same reproducible flags.
MUSL_CFLAGS = -std=gnu11 -Os -fPIE -ffunction-sections -fdata-sections $(HARDEN) $(MUSL_INC) \
	$(if $(IS_CLANG),--target=x86_64-linux-musl) -ffile-prefix-map=$(abspath $(O))=build -ffile-prefix-map=$(CURDIR)=. -g0
CFLAGS = $(subst -Os,$(OPT),$(MUSL_CFLAGS)) -D_GNU_SOURCE -I. $(WARN) $(if $(IS_CLANG),,$(WARN_gcc)) $(EXTRA_CFLAGS)
OPT ?= -O2
LINK = $(LD) -static -pie --no-dynamic-linker -z text -z relro -z now -z noexecstack --gc-sections --build-id=none -s \
	-o $@ $(MUSL)/rcrt1.o $(MUSL)/crti.o $(filter %.o,$^) --start-group $(filter %.a,$^) $(MUSL)/libc.a $(LIBGCC) --end-group $(MUSL)/crtn.o

# ---- rooms: explicit object lists --------------------------------------------------------------------------------
LIB_BASE := lib/base/base.o lib/base/buf.o lib/base/io.o lib/base/num.o lib/base/enc.o lib/base/time.o lib/base/sha256.o
LIB_EV := lib/ev/ev.o
LIB_WIRE := lib/wire/wire.o lib/wire/chan.o
LIB_JSON := lib/json/read.o lib/json/look.o lib/json/write.o
LIB_HTTP := lib/http/head.o lib/http/write.o lib/http/chunk.o lib/http/target.o lib/http/ws.o lib/http/wsopen.o lib/http/sha1.o
LIB_YAML := lib/yaml/doc.o lib/yaml/read.o lib/yaml/tree.o lib/yaml/write.o
LIB_ARC := lib/arc/tar_read.o lib/arc/tar_write.o lib/arc/tree_file.o lib/arc/tree_source.o lib/arc/tree_sink.o lib/arc/glob.o lib/arc/dest.o
# what a VM does with its disk; and what core does besides
DISK_USE := lib/disk/disk.o lib/disk/overlay.o
LIB_DISK := $(DISK_USE) lib/disk/make.o lib/disk/flatten.o
LIB_TLS := lib/tls/tls.o lib/tls/identity.o lib/tls/cert.o lib/tls/pin.o
LIB_POLICY := lib/policy/entry.o lib/policy/decide.o
LIB_NFNL := lib/nfnl/subscribe.o lib/nfnl/read.o
LIB_DNS := lib/dns/read.o lib/dns/write.o
LIB_SANDBOX := lib/sandbox/sandbox.o lib/sandbox/seccomp.o
VMM_MEM := vmm/mem/gm.o
VMM_VIRTIO := vmm/virtio/queue.o vmm/virtio/chain.o vmm/virtio/vdev.o vmm/virtio/mmio.o
VMM_BACK := vmm/back/tap.o vmm/back/shape.o vmm/back/delay.o vmm/back/vstream.o vmm/back/vtable.o
VMM_DEV := vmm/dev/blk.o vmm/dev/blk_io.o vmm/dev/blk_work.o vmm/dev/net.o vmm/dev/net_rx.o vmm/dev/net_tx.o vmm/dev/net_ctrl.o vmm/dev/net_chaos.o vmm/dev/rng.o vmm/dev/vsock.o vmm/dev/vsock_life.o vmm/dev/vsock_in.o \
	vmm/dev/vsock_out.o
DEVICE_ROOMS := $(DISK_USE) $(VMM_MEM) $(VMM_VIRTIO) $(VMM_BACK) $(VMM_DEV)

VMM_X86 := vmm/x86/boot.o vmm/x86/elf.o vmm/x86/bzimage.o vmm/x86/aml.o vmm/x86/acpi.o vmm/x86/cpuid.o vmm/x86/state.o \
	vmm/x86/ioapic.o vmm/x86/uart.o
VMM_MACHINE := vmm/machine/machine.o vmm/machine/virtio.o vmm/machine/devices.o vmm/machine/power.o vmm/machine/vcpu.o \
	vmm/machine/console.o vmm/machine/request.o vmm/machine/control.o vmm/machine/control_ask.o vmm/machine/control_net.o vmm/machine/sandbox.o vmm/machine/probe.o
VMM_OBJS := $(LIB_BASE) $(LIB_EV) $(LIB_WIRE) $(LIB_SANDBOX) $(DEVICE_ROOMS) $(VMM_X86) $(VMM_MACHINE) \
	vmm/kvm/vm.o vmm/kvm/vcpu.o vmm/bus/bus.o vmm/main.o
JAIL_OBJS := $(LIB_BASE) $(LIB_EV) $(LIB_WIRE) $(LIB_SANDBOX) vmm/jail/cage.o vmm/jail/cgroup.o vmm/jail/netns.o vmm/jail/macvtap.o vmm/jail/jail.o vmm/jail/walls.o vmm/jail/main.o
NETD_OBJS := $(LIB_BASE) $(LIB_EV) $(LIB_WIRE) $(LIB_SANDBOX) lib/nfnl/subscribe.o api/netd/main.o api/netd/serve.o api/netd/state.o api/netd/bridge.o api/netd/macvtap.o api/netd/iso.o api/netd/ruled.o api/netd/stale.o api/netd/nft_policy.o api/netd/nft_bridge.o api/netd/nft_dump.o \
	api/netd/rtnl.o api/netd/rtnl_link.o api/netd/nft_msg.o api/netd/nft_rule.o api/netd/nft_probe.o api/netd/nft_host.o api/netd/nft_ns.o \
	api/netd/nft_tap.o api/netd/nft_count.o api/netd/ct.o api/netd/sysctl.o api/netd/tap.o
CORE_OBJS = $(LIB_BASE) $(LIB_DISK) $(LIB_EV) $(LIB_WIRE) $(LIB_SANDBOX) $(LIB_YAML) $(CORE_CONFIG) api/core/policy.o api/core/gate.o api/core/gate_bridge.o api/core/ask_policy.o api/core/tls.o api/core/main.o api/core/walls.o api/core/core.o api/core/listen.o api/core/local.o \
	api/core/net.o api/core/net_vm.o api/core/net_mode.o api/core/adopt.o api/core/registry.o api/core/record.o api/core/peer.o api/core/helper.o api/core/report.o \
	api/core/cmdline.o api/core/vm.o api/core/vm_make.o api/core/vm_disk.o api/core/vm_keep.o api/core/images.o api/core/image.o api/core/store.o api/core/ask_images.o api/core/commits.o api/core/commit.o api/core/vm_commit.o api/core/ask_commits.o api/core/vm_fork.o api/core/ask_disks.o api/core/disk_jobs.o api/core/disk_use.o api/core/vm_disks.o api/core/vm_boot.o api/core/vm_net.o api/core/ask_net.o api/core/vm_link.o api/core/vm_stop.o api/core/agent_call.o \
	api/core/req.o api/core/requests.o api/core/auth.o api/core/tokens.o api/core/ask_tokens.o api/core/ask_list.o api/core/groups.o api/core/group_tree.o api/core/group_rules.o api/core/ask_group_rules.o api/core/ask_groups.o api/core/ask_create.o api/core/ask_act.o api/core/ask_tags.o \
	api/core/secrets.o api/core/vm_secrets.o api/core/ssh_keys.o api/core/ask_secrets.o api/core/metrics.o api/core/ask_metrics.o api/core/publish.o api/core/publish_connect.o
CORE_OBJS += api/core/admit.o api/core/vm_limits.o
FRONT_OBJS := $(LIB_BASE) $(LIB_EV) $(LIB_WIRE) $(LIB_SANDBOX) $(LIB_HTTP) $(LIB_JSON) $(LIB_TLS) api/front/cert.o api/front/secure.o \
	api/front/main.o api/front/walls.o api/front/listen.o api/front/conn.o api/front/body.o api/front/reply.o api/front/routes.o api/front/route.o api/front/ask.o api/front/stream.o api/front/params.o api/front/node.o api/front/h_nodes.o api/front/h_groups.o api/front/h_create.o \
	api/front/h_vm.o api/front/h_health.o api/front/loss.o api/front/line.o api/front/h_exec.o api/front/h_bg.o api/front/h_watch.o api/front/h_cp.o api/front/h_fs.o api/front/h_ws.o \
	api/front/h_secrets.o api/front/h_images.o api/front/h_commits.o api/front/h_disks.o api/front/h_tokens.o api/front/cut.o api/front/h_net_policy.o api/front/h_net_log.o api/front/h_metrics.o api/front/h_net.o api/front/metrics.o api/front/h_openapi.o api/front/openapi.o api/front/guard.o api/front/publish.o
GATE_OBJS := $(LIB_BASE) $(LIB_EV) $(LIB_WIRE) $(LIB_SANDBOX) $(LIB_JSON) $(LIB_POLICY) $(LIB_DNS) $(LIB_NFNL) api/gate/main.o api/gate/walls.o api/gate/link.o \
	api/gate/vm.o api/gate/bridge.o api/gate/serve.o api/gate/decide.o api/gate/local.o api/gate/upstream.o api/gate/cache.o api/gate/open.o api/gate/seen.o api/gate/events.o \
	api/gate/flows.o api/gate/record.o
CLI_ROOM := cli/codes.o cli/checks.o cli/notify.o cli/mask.o cli/cmd_bundle.o cli/main.o cli/cmds.o cli/find.o cli/absent.o cli/answer.o cli/context.o cli/join.o cli/cmd_context.o cli/cmd_join.o cli/cmd_power.o cli/cmd_auto.o cli/lines.o cli/bg.o cli/cmd_bg.o cli/cmd_bg_exec.o cli/cmd_fs.o cli/cmd_watch.o cli/opt.o cli/help.o cli/out.o cli/compat.o cli/address.o cli/call.o cli/secure.o cli/remote.o cli/files.o cli/exec.o cli/frame.o \
	cli/shell.o cli/copy_in.o cli/copy_out.o cli/lz4.o cli/payload.o cli/parts.o cli/spawn.o cli/stack.o cli/private.o cli/cmd_vm.o cli/cmd_route.o \
	cli/cmd_launch.o cli/cmd_commit.o cli/cmd_ready.o cli/cmd_exec.o cli/cmd_cp.o cli/cmd_new.o cli/cmd_up.o cli/cmd_run.o cli/cmd_doctor.o cli/ps.o cli/walls.o cli/cmd_ps.o cli/cmd_info.o cli/cmd_secret.o cli/cmd_image.o cli/cmd_image_import.o cli/cmd_image_build.o cli/build_run.o cli/build_context.o cli/build_guest.o cli/build_cache.o cli/build_say.o cli/cmd_disk.o cli/cmd_group.o cli/cmd_config.o cli/cmd_token.o cli/cmd_net.o cli/cmd_net_log.o cli/cmd_policy.o cli/learn.o cli/net.o \
	cli/folder.o cli/forward.o cli/forward_spec.o cli/forward_listen.o cli/cmd_forward.o cli/cmd_top.o cli/bench.o cli/cmd_bench.o cli/cmd_service.o cli/cmd_completion.o cli/cmd_man.o
CLI_OBJS = $(CLI_ROOM) $(CLI_DOCKERFILE) $(LIB_BASE) $(LIB_EV) $(LIB_WIRE) $(LIB_HTTP) $(LIB_JSON) $(LIB_ARC) $(LIB_TLS)
UNPACK_OBJS := rootfs/unpack/main.o rootfs/unpack/outer.o rootfs/unpack/manifest.o rootfs/unpack/stream.o rootfs/unpack/layer.o rootfs/unpack/inside.o \
	rootfs/unpack/adopt.o rootfs/unpack/target.o lib/arc/tar_read.o lib/arc/gzip.o lib/arc/zstd.o lib/arc/zstd_code.o $(LIB_JSON) $(LIB_BASE)
STEP_OBJS := rootfs/step/main.o rootfs/step/user.o rootfs/step/run.o rootfs/step/copy.o rootfs/unpack/layer.o rootfs/unpack/inside.o rootfs/unpack/stream.o \
	rootfs/unpack/target.o lib/arc/tar_read.o lib/arc/tar_write.o lib/arc/gzip.o lib/arc/zstd.o lib/arc/zstd_code.o $(LIB_BASE)
INIT_OBJS := init/main.o init/mounts.o init/net.o $(LIB_BASE)
AGENT_ROOM := agent/main.o agent/hello.o agent/conn.o agent/request.o agent/user.o agent/path.o agent/spawn.o agent/exec.o agent/exec_start.o agent/job.o \
	agent/ring.o agent/bg.o agent/bg_run.o agent/bg_flow.o agent/watch.o agent/watch_ask.o agent/watch_tree.o agent/place.o agent/upload.o agent/manifest.o \
	agent/stream.o agent/copy_in.o agent/copy_out.o agent/fs.o agent/forward.o agent/machine.o agent/stats.o agent/userdata.o agent/ssh_keys.o agent/fixup.o
AGENT_OBJS := $(AGENT_ROOM) $(LIB_BASE) $(LIB_EV) $(LIB_WIRE) $(LIB_ARC) $(LIB_JSON)

# programs whose object lists are filled in; name → objects → static libraries
HOST_PROGS :=
GUEST_PROGS :=

# ---- tests: unit tests and fuzz targets, each with its objects ---------------------------------------------------
# UNIT_<name> := objects beside tests/unit/<name>.o ; FUZZ_<name> := objects beside tests/fuzz/<name>.c
UNIT_TESTS := base_num base_buf ev_loop wire_wire wire_chan sandbox_seccomp tls_tls
UNIT_base_num := $(LIB_BASE)
UNIT_tls_tls := $(LIB_BASE) $(LIB_TLS)
UNITLIBS_tls_tls := $(O)/deps/libbearssl.a
UNIT_TESTS += http_head http_chunk http_target http_ws
UNIT_http_head := $(LIB_BASE) $(LIB_HTTP)
UNIT_http_chunk := $(LIB_BASE) $(LIB_HTTP)
UNIT_http_target := $(LIB_BASE) $(LIB_HTTP) tests/unit/induce.o
UNIT_http_ws := $(LIB_BASE) $(LIB_HTTP) tests/unit/induce.o
UNIT_sandbox_seccomp := $(LIB_BASE) $(LIB_SANDBOX)
UNIT_base_buf := $(LIB_BASE)
UNIT_ev_loop := $(LIB_BASE) $(LIB_EV)
UNIT_wire_wire := $(LIB_BASE) $(LIB_WIRE) tests/unit/induce.o
UNIT_wire_chan := $(LIB_BASE) $(LIB_WIRE) tests/unit/induce.o
UNIT_TESTS += json_json
UNIT_json_json := $(LIB_BASE) $(LIB_JSON) tests/unit/induce.o
UNIT_TESTS += core_config core_addr base_sha256 yaml_write
UNIT_yaml_write := $(LIB_BASE) $(LIB_YAML)
UNITLIBS_yaml_write := $(O)/deps/libyaml.a
UNIT_base_sha256 := $(LIB_BASE)
CORE_CONFIG := $(LIB_POLICY) api/core/addr.o api/core/config.o api/core/config_keys.o api/core/config_group.o api/core/config_net.o api/core/config_iso.o api/core/config_policy.o \
	api/core/config_file.o api/core/image_name.o api/core/config_api.o api/core/config_publish.o api/core/config_disks.o api/core/publish_spec.o api/core/config_add.o api/core/config_show.o api/core/ssh_line.o api/core/quota.o
UNIT_core_config := $(LIB_BASE) $(LIB_YAML) $(CORE_CONFIG)
UNITLIBS_core_config := $(O)/deps/libyaml.a
UNIT_core_addr := $(LIB_BASE) api/core/addr.o
UNIT_TESTS += core_publish
UNIT_core_publish := $(LIB_BASE) api/core/publish_spec.o
UNIT_TESTS += core_record
UNIT_core_record := $(LIB_BASE) api/core/addr.o api/core/record.o api/core/secrets.o
UNIT_TESTS += core_secrets
UNIT_core_secrets := $(LIB_BASE) api/core/secrets.o
UNIT_TESTS += core_tokens
UNIT_core_tokens := $(LIB_BASE) api/core/tokens.o api/core/quota.o
UNIT_TESTS += core_metrics
UNIT_core_metrics := $(LIB_BASE) $(LIB_WIRE) api/core/metrics.o
UNIT_TESTS += front_metrics
UNIT_front_metrics := $(LIB_BASE) api/front/metrics.o
UNIT_TESTS += front_guard
UNIT_front_guard := $(LIB_BASE) api/front/metrics.o api/front/guard.o
UNIT_TESTS += policy_entry policy_decide
UNIT_TESTS += cli_learn
UNIT_cli_learn = $(filter-out cli/main.o,$(CLI_OBJS))
UNITLIBS_cli_learn := $(O)/deps/libbearssl.a
UNIT_policy_entry := $(LIB_BASE) $(LIB_POLICY)
UNIT_policy_decide := $(LIB_BASE) $(LIB_POLICY)
UNIT_TESTS += dns_dns nfnl_read
UNIT_dns_dns := $(LIB_BASE) $(LIB_DNS)
UNIT_nfnl_read := $(LIB_BASE) $(LIB_NFNL)
FUZZ_dns := $(LIB_BASE) $(LIB_DNS)
FUZZ_nfnl := $(LIB_BASE) $(LIB_NFNL)
FUZZ_policy := $(LIB_BASE) $(LIB_POLICY)
UNIT_TESTS += netd_netlink netd_probe
UNIT_netd_probe := $(LIB_BASE) api/netd/rtnl.o api/netd/nft_msg.o api/netd/nft_rule.o api/netd/nft_probe.o
UNIT_netd_netlink := $(LIB_BASE) api/netd/rtnl.o
UNIT_TESTS += disk_overlay disk_flatten disk_threads
UNIT_disk_threads := $(LIB_BASE) $(LIB_DISK)
UNIT_disk_overlay := $(LIB_BASE) $(LIB_DISK)
UNIT_disk_flatten := $(LIB_BASE) $(LIB_DISK)
UNIT_TESTS += mem_gm virtio_queue virtio_mmio dev_blk dev_net dev_rng dev_vsock back_vtable
UNIT_mem_gm := $(LIB_BASE) $(VMM_MEM) tests/unit/induce.o
UNIT_virtio_queue := $(LIB_BASE) $(VMM_MEM) $(VMM_VIRTIO) $(LIB_EV)
UNIT_virtio_mmio := $(UNIT_virtio_queue) tests/unit/induce.o
UNIT_dev_blk := $(LIB_BASE) $(LIB_EV) $(DEVICE_ROOMS) lib/disk/make.o
UNIT_TESTS += dev_blk_work
UNIT_dev_blk_work := $(UNIT_dev_blk)
UNIT_dev_net := $(UNIT_dev_blk)
UNIT_TESTS += dev_net_ctrl dev_net_chaos dev_net_tap dev_net_odd dev_net_bulk
UNIT_dev_net_odd := $(UNIT_dev_blk) tests/unit/induce.o
UNIT_dev_net_tap := $(UNIT_dev_blk)
UNIT_dev_net_bulk := $(UNIT_dev_blk)
UNIT_dev_net_ctrl := $(UNIT_dev_blk)
UNIT_dev_net_chaos := $(UNIT_dev_blk)
UNIT_dev_rng := $(UNIT_dev_blk) tests/unit/induce.o
UNIT_dev_vsock := $(UNIT_dev_blk)
UNIT_TESTS += dev_vsock_odd dev_vsock_flow dev_memory
UNIT_dev_vsock_flow := $(UNIT_dev_blk)
UNIT_dev_memory := $(UNIT_dev_blk) tests/unit/induce.o
UNIT_dev_vsock_odd := $(UNIT_dev_blk) tests/unit/induce.o
UNIT_TESTS += back_shape
UNIT_back_shape := $(LIB_BASE) vmm/back/shape.o vmm/back/delay.o
UNIT_back_vtable := $(LIB_BASE) $(LIB_EV) $(VMM_BACK)
UNIT_virtio_window := $(LIB_BASE) $(LIB_EV) $(DEVICE_ROOMS)
UNIT_TESTS += virtio_window bus_bus x86_acpi x86_boot x86_chips x86_cpuid machine_console machine_request
UNIT_bus_bus := $(LIB_BASE) vmm/bus/bus.o
UNIT_x86_acpi := $(LIB_BASE) $(VMM_MEM) vmm/x86/acpi.o vmm/x86/aml.o
VMM_LOADER := $(VMM_MEM) vmm/x86/boot.o vmm/x86/elf.o vmm/x86/bzimage.o
UNIT_x86_boot := $(LIB_BASE) $(VMM_LOADER)
UNIT_x86_chips := $(LIB_BASE) vmm/bus/bus.o vmm/x86/ioapic.o vmm/x86/uart.o
UNIT_x86_cpuid := vmm/x86/cpuid.o
UNIT_machine_console := $(LIB_BASE) vmm/machine/console.o
UNIT_machine_request := $(LIB_BASE) $(LIB_WIRE) vmm/machine/request.o vmm/back/shape.o
UNIT_TESTS += machine_sandbox
UNIT_TESTS += walls_filters
UNIT_walls_filters := $(LIB_BASE) $(LIB_SANDBOX) api/core/walls.o vmm/jail/walls.o
UNIT_machine_sandbox := $(LIB_BASE) $(LIB_SANDBOX) vmm/machine/sandbox.o
UNIT_TESTS += machine_threads
UNIT_machine_threads := $(UNIT_machine_sandbox)
FUZZ_TESTS := wire boot
FUZZ_boot := $(LIB_BASE) $(VMM_LOADER)
FUZZ_wire := $(LIB_BASE) $(LIB_WIRE)
UNIT_TESTS += arc_tar arc_rules arc_tree agent_request agent_ring
UNIT_agent_ring := $(LIB_BASE) agent/ring.o
UNIT_arc_tar := $(LIB_BASE) $(LIB_ARC)
UNIT_arc_rules := $(LIB_BASE) $(LIB_ARC)
UNIT_arc_tree := $(LIB_BASE) $(LIB_ARC)
UNIT_agent_request := $(LIB_BASE) $(LIB_WIRE) agent/request.o agent/path.o
FUZZ_TESTS += tar packed agent_request agent_manifest
PACKED := lib/arc/gzip.o lib/arc/zstd.o lib/arc/zstd_code.o
FUZZ_packed := $(LIB_BASE) $(PACKED)
FUZZ_agent_manifest := $(LIB_BASE) $(LIB_JSON) agent/manifest.o
FUZZ_tar := $(LIB_BASE) $(LIB_ARC)
FUZZ_agent_request := $(LIB_BASE) $(LIB_WIRE) agent/request.o agent/path.o agent/watch_ask.o lib/arc/glob.o
FUZZ_TESTS += vq vsock blk net rng
FUZZ_vq := $(LIB_BASE) $(LIB_EV) $(VMM_MEM) $(VMM_VIRTIO)
FUZZ_vsock := $(LIB_BASE) $(LIB_EV) $(DEVICE_ROOMS)
FUZZ_blk := $(FUZZ_vsock) lib/disk/make.o
FUZZ_net := $(FUZZ_vsock)
FUZZ_rng := $(FUZZ_vsock)
FUZZ_TESTS += http_head http_chunk http_target http_ws
FUZZ_http_head := $(LIB_BASE) $(LIB_HTTP)
FUZZ_http_chunk := $(LIB_BASE) $(LIB_HTTP)
FUZZ_http_target := $(LIB_BASE) $(LIB_HTTP)
FUZZ_http_ws := $(LIB_BASE) $(LIB_HTTP)
FUZZ_TESTS += http_stream
FUZZ_http_stream := $(LIB_BASE) $(LIB_HTTP)
FUZZ_TESTS += config record
FUZZ_record := $(LIB_BASE) api/core/addr.o api/core/record.o api/core/secrets.o
FUZZ_config := $(LIB_BASE) $(LIB_YAML) $(CORE_CONFIG)
FUZZLIBS_config := $(O)/deps/libyaml.a
FUZZINC_config := -isystem $(O)/deps/yaml/include
FUZZ_TESTS += publish
FUZZ_publish := $(LIB_BASE) api/core/publish_spec.o
FUZZ_TESTS += group
FUZZ_group := $(LIB_BASE) $(LIB_WIRE) $(LIB_YAML) $(CORE_CONFIG) api/core/group_tree.o
FUZZLIBS_group := $(O)/deps/libyaml.a
FUZZINC_group := -isystem $(O)/deps/yaml/include
FUZZ_TESTS += json policy dns nfnl
FUZZ_json := $(LIB_BASE) $(LIB_JSON)
CLI_DOCKERFILE := cli/dockerfile/list.o cli/dockerfile/config.o cli/dockerfile/read.o cli/dockerfile/word.o cli/dockerfile/plan.o cli/dockerfile/files.o cli/dockerfile/words.o \
	cli/dockerfile/key.o cli/dockerfile/ignore.o
DOCKERFILE_NEEDS := $(CLI_DOCKERFILE) $(LIB_BASE) $(LIB_JSON) lib/arc/glob.o
UNIT_TESTS += cli_dockerfile
UNIT_cli_dockerfile := $(DOCKERFILE_NEEDS)
FUZZ_TESTS += dockerfile
FUZZ_dockerfile := $(DOCKERFILE_NEEDS)
UNIT_TESTS += cli_lz4 cli_payload cli_opt cli_forward
UNIT_cli_lz4 := cli/lz4.o
UNIT_TESTS += cli_net
UNIT_cli_net := $(LIB_BASE) $(LIB_JSON) cli/net.o
UNIT_cli_payload := cli/payload.o cli/lz4.o $(LIB_BASE)
UNIT_cli_opt = $(filter-out cli/main.o,$(CLI_OBJS))
UNITLIBS_cli_opt := $(O)/deps/libbearssl.a
UNIT_cli_forward = $(filter-out cli/main.o,$(CLI_OBJS))
UNITLIBS_cli_forward := $(O)/deps/libbearssl.a
FUZZ_TESTS += chips boot_request chan tls glob disk_map
FUZZ_chips := $(LIB_BASE) vmm/bus/bus.o vmm/x86/uart.o vmm/x86/ioapic.o vmm/machine/console.o
FUZZ_boot_request := $(LIB_BASE) $(LIB_WIRE) vmm/machine/request.o vmm/back/shape.o
FUZZ_chan := $(LIB_BASE) $(LIB_WIRE)
FUZZ_tls := $(LIB_BASE) $(LIB_TLS)
FUZZLIBS_tls := $(O)/deps/libbearssl.a
FUZZINC_tls := -isystem $(O)/deps/bearssl/inc
FUZZ_glob := $(LIB_BASE) $(LIB_ARC)
FUZZ_disk_map := $(LIB_BASE) $(LIB_DISK)
FUZZ_TESTS += tokens meta rtnl
FUZZ_tokens := $(LIB_BASE) api/core/tokens.o api/core/quota.o
FUZZ_meta := $(LIB_BASE) api/core/image.o api/core/image_name.o api/core/commit.o api/core/store.o api/core/record.o api/core/addr.o api/core/secrets.o
FUZZ_rtnl := $(LIB_BASE) api/netd/rtnl.o api/netd/nft_dump.o api/netd/nft_msg.o api/netd/ct.o
FUZZ_TESTS += lz4 join
FUZZ_join := $(LIB_BASE) $(LIB_JSON) cli/join.o
FUZZ_lz4 := cli/lz4.o

# ---- main targets ------------------------------------------------------------------------------------------------
.PHONY: all progs deps help clean check-static
all: progs ## build everything into $(O)

progs: ## the programs alone

help: ## this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

deps: ## install the Debian packages that building and testing need (as root)
	@missing=$$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(PKGS_BUILD) $(PKGS_TEST) 2>/dev/null | \
	  awk '$$2=="installed"{print $$1}' | sort > /tmp/.mica-have.$$$$; \
	  printf '%s\n' $(PKGS_BUILD) $(PKGS_TEST) | sort | comm -23 - /tmp/.mica-have.$$$$; rm -f /tmp/.mica-have.$$$$); \
	if [ -n "$$missing" ]; then echo "installing:" $$missing; \
	  if [ "$$(id -u)" = 0 ]; then s=; else s=sudo; fi; \
	  $$s apt-get update -q && DEBIAN_FRONTEND=noninteractive $$s apt-get install -y -q --no-install-recommends $$missing; fi

clean: ## remove $(O)
	rm -rf $(O)

# ---- how things are built ----------------------------------------------------------------------------------------
KHEADERS := $(O)/deps/kheaders/.done-video
$(KHEADERS):
	@mkdir -p $(@D)
	@ln -sfn /usr/include/linux $(@D)/linux; ln -sfn /usr/include/x86_64-linux-gnu/asm $(@D)/asm; \
	ln -sfn /usr/include/asm-generic $(@D)/asm-generic; ln -sfn /usr/include/video $(@D)/video; touch $@

$(O)/obj/%.o: %.c | $(KHEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(CFLAGS_$(*)) -MMD -MP -c -o $@ $<

define HOST_RULE
$(O)/bin/$(1): $$(addprefix $(O)/obj/,$$($(2))) $(3)
	@mkdir -p $$(@D)
	$$(LINK)
endef
define GUEST_RULE
$(O)/guest/$(1): $$(addprefix $(O)/obj/,$$($(2)))
	@mkdir -p $$(@D)
	$$(LINK)
endef
# tests that order failures (tests/unit/induce.h): these calls are wrapped in them
INDUCE_CALLS := malloc calloc realloc mmap ftruncate memfd_create read write readv writev sendmsg recvmsg poll socketpair eventfd epoll_ctl fcntl dup \
	ioctl pthread_mutex_init random_fill gm_read gm_write gm_iov gm_load_acquire_u16 gm_store_release_u16
comma := ,
INDUCED = $(if $(filter tests/unit/induce.o,$(UNIT_$(1))),$(INDUCE_CALLS))
define UNIT_RULE
$(O)/tests/unit/$(1): $(O)/obj/tests/unit/$(1).o $$(addprefix $(O)/obj/,$$(UNIT_$(1))) $$(UNITLIBS_$(1))
	@mkdir -p $$(@D)
	$$(LINK) $$(addprefix --wrap=,$$(call INDUCED,$(1)))
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call UNIT_RULE,$(t))))

check-static: progs ## every program: static PIE, no interpreter, nothing NEEDED
	@for p in $(HOST_PROGS:%=$(O)/bin/%) $(GUEST_PROGS:%=$(O)/guest/%); do \
	  readelf -hlW $$p | grep -q 'Type: *DYN' || { echo "$$p is not a PIE"; exit 1; }; \
	  if readelf -lW $$p | grep -q INTERP; then echo "$$p has an interpreter"; exit 1; fi; \
	  if readelf -dW $$p | grep -q NEEDED; then echo "$$p needs libraries"; exit 1; fi; echo "ok $$p"; done

# ---- programs ----------------------------------------------------------------------------------------------------
## programs (each owner adds: HOST_PROGS += x  and  $(eval $(call HOST_RULE,x,X_OBJS,libs)) below)
GUEST_PROGS += init agent unpack step
$(eval $(call GUEST_RULE,init,INIT_OBJS))
$(eval $(call GUEST_RULE,agent,AGENT_OBJS))
$(eval $(call GUEST_RULE,unpack,UNPACK_OBJS))
$(eval $(call GUEST_RULE,step,STEP_OBJS))
# what every guest image carries is small before it is fast
$(O)/obj/init/%.o: OPT := -Os
$(O)/obj/agent/%.o: OPT := -Os
$(O)/obj/rootfs/%.o: OPT := -Os
HOST_PROGS += jail netd vmm front
$(eval $(call HOST_RULE,vmm,VMM_OBJS))
$(eval $(call HOST_RULE,jail,JAIL_OBJS))
$(eval $(call HOST_RULE,netd,NETD_OBJS))
HOST_PROGS += gate
$(eval $(call HOST_RULE,gate,GATE_OBJS))
$(eval $(call HOST_RULE,front,FRONT_OBJS,$(O)/deps/libbearssl.a))
# what front serves as /openapi.json
$(O)/gen/openapi.c: tools/openapi.py api/openapi.yaml
	@mkdir -p $(@D)
	tools/openapi.py api/openapi.yaml -c > $@
$(O)/obj/api/front/openapi.o: $(O)/gen/openapi.c | $(KHEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
# what `mica ps` says of system calls: counted in the rule tables
WALL_TABLES := api/front/walls.c api/core/walls.c api/netd/main.c api/gate/walls.c vmm/jail/walls.c vmm/machine/sandbox.c
$(O)/gen/walls.c: tools/walls $(WALL_TABLES)
	@mkdir -p $(@D)
	tools/walls c > $@
$(O)/obj/cli/walls.o: $(O)/gen/walls.c cli/ps.h | $(KHEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
HOST_PROGS += mica
$(eval $(call HOST_RULE,mica,CLI_OBJS,$(O)/deps/libbearssl.a))

# lib/tls alone sees BearSSL's headers, which appear with the library
$(foreach f,$(LIB_TLS:.o=),$(eval CFLAGS_$(f) = -isystem $(O)/deps/bearssl/inc))
$(LIB_TLS:%=$(O)/obj/%): $(O)/deps/libbearssl.a

# lib/yaml alone sees libyaml's header, which appears with the library
CFLAGS_lib/yaml/doc = -isystem $(O)/deps/yaml/include
$(O)/obj/lib/yaml/doc.o: $(O)/deps/libyaml.a

HOST_PROGS += core
$(eval $(call HOST_RULE,core,CORE_OBJS,$(O)/deps/libyaml.a))

# after all programs are named: prerequisites are expanded when they are read
progs: $(HOST_PROGS:%=$(O)/bin/%) $(GUEST_PROGS:%=$(O)/guest/%)

## sources and kernel
$(O)/deps/libyaml.a: tools/deps.sh tools/fetch-source.sh tools/sources.sha256 | $(KHEADERS)
	O='$(O)' CC='$(CC)' CFLAGS='$(MUSL_CFLAGS)' AR='$(AR)' MICA_CACHE='$(MICA_CACHE)' tools/deps.sh libyaml

$(O)/deps/libbearssl.a: tools/deps.sh tools/fetch-source.sh tools/sources.sha256 | $(KHEADERS)
	O='$(O)' CC='$(CC)' CFLAGS='$(MUSL_CFLAGS)' AR='$(AR)' MICA_CACHE='$(MICA_CACHE)' tools/deps.sh bearssl

# The script decides by its own key whether there is anything to build; make only knows what may change that key.
KERNEL_DEPS := tools/kernel.sh tools/kernel-config-check.sh tools/fetch-source.sh tools/sources.sha256 kernel-config/min.config kernel-config/min.patch
$(O)/kernel/min/vmlinux: $(KERNEL_DEPS)
	O='$(O)' MICA_CACHE='$(MICA_CACHE)' tools/kernel.sh min
$(O)/kernel/emulated/vmlinux: $(KERNEL_DEPS) kernel-config/emulated.config kernel-config/emulated.patch
	O='$(O)' MICA_CACHE='$(MICA_CACHE)' tools/kernel.sh emulated

# Not of every build: it takes half an hour, and most guests do without. What the cache has is packed, `make full` builds it; FULL=no leaves it out.
FULL_DEPS := $(KERNEL_DEPS) kernel-config/full.config
FULL_VMLINUX = $(if $(filter no,$(FULL)),,$(shell ls $(O)/kernel/full/vmlinux 2>/dev/null))
$(O)/kernel/full/vmlinux: $(FULL_DEPS)
	O='$(O)' MICA_CACHE='$(MICA_CACHE)' tools/kernel.sh full
$(O)/kernel/full.looked: $(FULL_DEPS)
	@mkdir -p $(@D)
	@O='$(O)' MICA_CACHE='$(MICA_CACHE)' tools/kernel.sh -c full || { test $$? = 3 && rm -rf $(O)/kernel/full; }
	@touch $@

.PHONY: kernel kernel-emulated kernel-full full
kernel-full: $(O)/kernel/full/vmlinux ## the flavour for systemd, Docker and K3s (half an hour on two cores, once)
full: kernel-full ## build/mica with the kernel `full` in it
	@[ $(O)/kernel/full.looked -nt $(O)/kernel/full/vmlinux ] || touch $(O)/kernel/full.looked
	@$(MAKE) --no-print-directory all
kernel: $(O)/kernel/min/vmlinux ## the guest kernel `min` (built once, then from the cache)
kernel-emulated: $(O)/kernel/emulated/vmlinux ## the flavour for a KVM without VMX or SVM

## image and payload
IMAGE_SRC := tools/image.sh rootfs/min.list $(wildcard rootfs/min/*)
$(O)/image/min.ext4: $(IMAGE_SRC) $(O)/guest/init $(O)/guest/agent $(O)/guest/unpack $(O)/guest/step
	O='$(O)' tools/image.sh

# The one file: bin/mica with everything else behind it.
PAYLOAD = core=$(O)/bin/core front=$(O)/bin/front netd=$(O)/bin/netd gate=$(O)/bin/gate jail=$(O)/bin/jail vmm=$(O)/bin/vmm \
	kernel-min=$(O)/kernel/min/vmlinux kernel-emulated=$(O)/kernel/emulated/vmlinux image-min=$(O)/image/min.ext4
PAYLOAD_FILES = $(foreach p,$(PAYLOAD),$(lastword $(subst =, ,$(p))))
$(O)/mica: tools/pack.py $(O)/bin/mica $(PAYLOAD_FILES) $(O)/kernel/full.looked
	tools/pack.py $@ $(O)/bin/mica $(PAYLOAD) $(addprefix kernel-full=,$(FULL_VMLINUX))

all: $(O)/mica

.PHONY: run version
run: ## install what is missing, build, and do the main job: launch, copy in, exec, copy out, delete
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory main-job

.PHONY: main-job
main-job: $(O)/mica ## the main job alone
	tests/it/mainjob.sh $(O)/mica
version: $(O)/mica ## what the one file is made of
	$(O)/mica version

.PHONY: image
image: $(O)/image/min.ext4 ## the guest image `min`

## tests
.PHONY: test test-unit test-it bench fuzz asan
TAP_RUN := tools/tap-run.py
UNIT_BINS = $(UNIT_TESTS:%=$(O)/tests/unit/%)
FUZZ_BINS = $(FUZZ_TESTS:%=$(O)/tests/fuzz/%)
FUZZ_ITEMS = $(foreach f,$(FUZZ_TESTS),'=fuzz/$(f) $(O)/tests/fuzz/$(f) tests/fuzz/corpus/$(f)')
KVMCHECK := $(O)/tests/rig/kvmcheck
IT_ITEM = \
	'=config tests/it/suite.py $(O)/mica config' \
	'@1500 =guests tests/it/run.sh $(KVMCHECK) $(O)/mica' \
	'@300 =emulated tests/it/emulated.sh $(KVMCHECK) $(O)/mica'

define FUZZ_RULE
$(O)/tests/fuzz/$(1): $(O)/obj/tests/fuzz/$(1).o $(O)/obj/tests/fuzz/replay.o $$(addprefix $(O)/obj/,$$(FUZZ_$(1))) $$(FUZZLIBS_$(1))
	@mkdir -p $$(@D)
	$$(LINK)
endef
$(foreach t,$(FUZZ_TESTS),$(eval $(call FUZZ_RULE,$(t))))

$(KVMCHECK): $(O)/obj/tests/rig/kvmcheck.o
	@mkdir -p $(@D)
	$(LINK)
$(O)/tests/it/unpacked: $(addprefix $(O)/obj/,tests/it/unpacked.o $(PACKED) $(LIB_BASE))
	@mkdir -p $(@D)
	$(LINK)
$(O)/tests/bench/firstrun: $(O)/obj/tests/bench/firstrun.o
	@mkdir -p $(@D)
	$(LINK)
$(O)/tests/bench/blkback: $(addprefix $(O)/obj/,tests/bench/blkback.o $(UNIT_dev_blk))
	@mkdir -p $(@D)
	$(LINK)
$(O)/tests/bench/nettool: $(O)/obj/tests/bench/nettool.o
	@mkdir -p $(@D)
	$(LINK)

# Real processes with stand-ins for their peers, and what the build promises: no guest needed.
PROC_ITEMS = \
	'=kernel-audit tests/it/kernel_audit.py $(O)' \
	'@60 =init tests/it/init.py $(O)/guest/init' \
	'@300 =packed tests/it/packed.py $(O)/tests/it/unpacked' \
	'@180 =unpack tests/it/unpack.py $(O)/guest/unpack $(O)/guest/init $(O)/guest/agent /bin/busybox' \
	'=step tests/it/step.py $(O)/guest/step $(O)/guest/unpack' \
	'@180 =core tests/it/core_fake.py $(O)/bin/core' \
	'@120 =core-secrets tests/it/core_secrets.py $(O)/bin/core' \
	'@120 =core-groups tests/it/core_groups.py $(O)/bin/core' \
	'@60 =core-kernels tests/it/core_kernels.py $(O)/bin/core' \
	'@60 =core-iso tests/it/core_iso.py $(O)/bin/core' \
	'@120 =core-images tests/it/core_images.py $(O)/bin/core' \
	'@120 =core-commits tests/it/core_commits.py $(O)/bin/core' \
	'@120 =core-disks tests/it/core_disks.py $(O)/bin/core' \
	'@120 =core-full tests/it/core_full.py $(O)/bin/core' \
	'@300 =core-steps tests/it/core_steps.py $(O)/bin/core' \
	'@120 =core-reflink tests/it/core_reflink.py $(O)/bin/core' \
	'=cli tests/it/cli_fake.py $(O)/bin/mica' \
	'@180 =cli-build tests/it/cli_build.py $(O)/bin/mica $(O)/guest/step' \
	'@120 =guest-gaps tests/it/guest_gaps.py $(O)/bin $(O)/guest/agent' \
	'@120 =cli-group tests/it/cli_group.py $(O)/bin $(O)/guest/agent' \
	'=cli-tls tests/it/cli_tls.py $(O)/bin/mica $(O)/bin/front $(O)/guest/agent' \
	'=cli-context tests/it/cli_context.py $(O)/bin/mica $(O)/bin/front $(O)/guest/agent' \
	'=cli-words tests/it/cli_words.py $(O)/bin/mica $(O)/bin/front $(O)/guest/agent' \
	'=cli-forward tests/it/cli_forward.py $(O)/bin/mica $(O)/bin/front $(O)/guest/agent' \
	'=cli-bg tests/it/cli_bg.py $(O)/bin/mica $(O)/bin/front $(O)/guest/agent' \
	'=up-tls tests/it/up_tls.py $(O)/bin' \
	'@900 =build tests/it/build.sh $(O)' \
	'@180 =gate tests/it/gate.py $(O)/bin/gate' \
	'@180 =gate-net tests/it/gate_net.py $(O)/bin $(O)/guest/agent' \
	'@120 =gate-bridge tests/it/gate_bridge.py $(O)/bin $(O)/guest/agent' \
	'=netd tests/it/netd.py $(O)/bin/netd' \
	'@180 =netd-iso tests/it/netd_iso.py $(O)/bin/netd' \
	'@120 =netd-bridge tests/it/netd_bridge.py $(O)/bin/netd' \
	'@120 =netd-rules tests/it/netd_rules.py $(O)/bin/netd' \
	'=jail tests/it/jail.py $(O)/bin/jail $(O)/bin/vmm' \
	'=walls tests/it/walls.py $(O)/bin' \
	'=core-admit tests/it/core_admit.py $(O)/bin/core' \
	'@180 =faults tests/it/faults.py $(O)/bin $(O)/guest/agent' \
	'@240 =crash tests/it/crash.py $(O)/bin $(O)/guest/agent' \
	'=service tests/it/service.py $(O)/bin' \
	'=bundle tests/it/bundle.py $(O)/bin $(O)/guest/agent' \
	'=agent tests/it/agent_host.py $(O)/guest/agent' \
	'=agent-bg tests/it/agent_bg.py $(O)/guest/agent' \
	'@180 =front tests/it/front_fake.py $(O)/bin/front $(O)/guest/agent' \
	'@180 =front-tls tests/it/front_tls.py $(O)/bin/front $(O)/guest/agent' \
	'=front-secrets tests/it/front_secrets.py $(O)/bin/front $(O)/guest/agent' \
	'@240 =load tests/it/load.py $(O)/bin' \
	'@300 =streams tests/it/streams.py $(O)/bin' \
	'=front-net tests/it/front_net.py $(O)/bin/front $(O)/guest/agent' \
	'=front-tokens tests/it/front_tokens.py $(O)/bin/front $(O)/guest/agent' \
	'=core-tokens tests/it/core_tokens.py $(O)/bin/core' \
	'=cli-tokens tests/it/cli_tokens.py $(O)/bin $(O)/guest/agent' \
	'=openapi tests/it/openapi_routes.py' \
	'@180 =publish tests/it/publish.py $(O)/bin $(O)/guest/agent' \
	'@180 =conform tests/it/conform_stack.py $(O)/bin $(O)/guest/agent' \
	'=openapi-walk tests/it/openapi_walk.py $(O)/bin $(O)/guest/agent' \
	'@180 =hostile tests/it/hostile_http.py $(O)/bin $(O)/guest/agent http' \
	'@180 =hostile-tls tests/it/hostile_http.py $(O)/bin $(O)/guest/agent https' \
	'@60 =netd-macvtap tests/it/netd_macvtap.py $(O)/bin/netd $(O)/bin/jail' \
	'@60 =core-macvtap tests/it/core_macvtap.py $(O)/bin/core' \
	'@300 =bare tests/guest/bare_test.py $(O)/bin/vmm' \
	$(HOSTILE_ITEMS)
# Guests that do every forbidden thing: against the vmm as it is shipped, in jail's cage, and against one under ASan and UBSan.
HOSTILE_ITEMS = \
	'@900 =hostile-guest tests/guest/hostile.py $(O)/bin/vmm --jail $(O)/bin/jail' \
	'@900 =hostile-guest-asan tests/guest/hostile.py $(O)/asan/vmm'

test: ## install what is missing, build, and run every test
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory test-all

.PHONY: test-all
test-all: all $(UNIT_BINS) $(FUZZ_BINS) $(KVMCHECK) $(O)/tests/it/unpacked $(O)/asan/vmm ## everything: unit tests, fuzz corpus, whole guests (direct, in the rig, or a said skip)
	@$(TAP_RUN) -a -j 2 $(IT_ITEM) $(PROC_ITEMS) $(UNIT_BINS) $(FUZZ_ITEMS)

.PHONY: test-heavy
test-heavy: all ## what takes minutes: 200 kills of the daemon's processes (CRASH_KILLS=), with a seed that is printed; how fair VMs are to each other
	@tests/it/crash.py $(O)/bin $(O)/guest/agent -n $(CRASH_KILLS)
	@$(TAP_RUN) '@1500 =fair tests/it/fair.sh $(O)/mica'
	@$(MAKE) --no-print-directory test-recipes
CRASH_KILLS ?= 200

.PHONY: test-recipes
test-recipes: all $(KVMCHECK) ## Debian guests with systemd, and PostgreSQL, Redis, Docker, podman, containerd, Kubernetes's needs, firewalls' rules, ffmpeg and Chromium in them, K3s with MICA_K3S=FILE (rootfs/RECIPES.md)
	@$(TAP_RUN) '@5700 =recipes tests/it/heavy.sh $(KVMCHECK) $(O)/mica'

test-unit: $(UNIT_BINS) $(FUZZ_BINS) ## unit tests and the fuzz corpus
	@$(TAP_RUN) -j 2 $(UNIT_BINS) $(FUZZ_ITEMS)

test-it: all $(KVMCHECK) ## whole-guest tests alone
	@$(TAP_RUN) -v $(IT_ITEM)

$(O)/tests/bench/fio: tests/bench/fio.sh tools/fetch-source.sh tools/sources.sha256
	O='$(O)' MICA_CACHE='$(MICA_CACHE)' tests/bench/fio.sh

bench: all $(KVMCHECK) $(O)/tests/bench/firstrun $(O)/tests/bench/nettool $(O)/tests/bench/blkback $(O)/tests/bench/fio ## what a VM costs, beside QEMU's microvm with the same kernel and image
	@tests/bench/bench.sh $(O)
	@$(MAKE) --no-print-directory loc

# PROGRAM=LIST: the programs of the product by the names of their object lists
LOC_LISTS := vmm=VMM_OBJS jail=JAIL_OBJS core=CORE_OBJS front=FRONT_OBJS netd=NETD_OBJS gate=GATE_OBJS mica=CLI_OBJS init=INIT_OBJS agent=AGENT_OBJS unpack=UNPACK_OBJS
COMMA := ,
BLANK := $(subst ,, )
.PHONY: loc
loc: progs ## lines of code per program, and of all that a guest can reach
	@tools/loc $(O) $(foreach p,$(LOC_LISTS),$(firstword $(subst =, ,$(p)))=$(subst $(BLANK),$(COMMA),$(strip $($(lastword $(subst =, ,$(p)))))))

# Real fuzzing (clang, ASan, UBSan; glibc): every target for FUZZ_SEC seconds.
FUZZ_SEC ?= 20
FUZZ_RUN := $(FUZZ_TESTS)
ifdef T
comma_to_blank = $(subst $(comma), ,$(1))
FUZZ_RUN := $(filter $(call comma_to_blank,$(T)),$(FUZZ_TESTS))
endif
fuzz: $(FUZZ_RUN:%=$(O)/fuzz/%) ## run each fuzz target (or those of T=name,name) for FUZZ_SEC seconds
	@[ -n "$(strip $(FUZZ_RUN))" ] || { echo "no fuzz target $(T); there are: $(FUZZ_TESTS)"; exit 2; }
	@for t in $(FUZZ_RUN); do echo "== $$t"; mkdir -p $(O)/fuzz/corpus-$$t; \
	  $(O)/fuzz/$$t -max_total_time=$(FUZZ_SEC) -timeout=10 -rss_limit_mb=2048 -verbosity=0 -artifact_prefix=$(O)/fuzz/ \
	    $(O)/fuzz/corpus-$$t tests/fuzz/corpus/$$t > $(O)/fuzz/$$t.log 2>&1 || { tail -n 40 $(O)/fuzz/$$t.log; exit 1; }; \
	  echo "   $(FUZZ_SEC) s, nothing found"; done
define REAL_FUZZ_RULE
$(O)/fuzz/$(1): tests/fuzz/$(1).c $$(FUZZ_$(1):.o=.c) $$(FUZZLIBS_$(1))
	@mkdir -p $$(@D)
	clang -std=gnu11 -O1 -g -D_GNU_SOURCE -I. $$(FUZZINC_$(1)) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
	  -o $$@ $$(filter %.c %.a,$$^)
endef
$(foreach t,$(FUZZ_TESTS),$(eval $(call REAL_FUZZ_RULE,$(t))))

# Unit tests and the fuzz corpus under ASan and UBSan. ASan does not work with musl: this flavour is glibc's.
ASAN_CC = gcc -w -std=gnu11 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -I. -isystem $(O)/deps/bearssl/inc -isystem $(O)/deps/yaml/include
# sources of objects; one of them is made by a tool
SOURCES = $(patsubst cli/walls.c,$(O)/gen/walls.c,$(1:.o=.c))
ASAN_ITEMS = $(foreach f,$(FUZZ_TESTS),'=asan-fuzz/$(f) $(O)/asan/fuzz/$(f) tests/fuzz/corpus/$(f)')
asan: $(UNIT_TESTS:%=$(O)/asan/unit/%) $(FUZZ_TESTS:%=$(O)/asan/fuzz/%) ## unit tests and the fuzz corpus under ASan and UBSan
	@$(TAP_RUN) -j 2 $(UNIT_TESTS:%=$(O)/asan/unit/%) $(ASAN_ITEMS)
define ASAN_RULE
$(O)/asan/unit/$(1): tests/unit/$(1).c $$(call SOURCES,$$(UNIT_$(1))) $$(UNITLIBS_$(1))
	@mkdir -p $$(@D)
	$$(ASAN_CC) $$(UNITINC_$(1)) $$(addprefix -Wl$$(comma)--wrap=,$$(call INDUCED,$(1))) -o $$@ $$(filter %.c %.a,$$^)
endef
define ASAN_FUZZ_RULE
$(O)/asan/fuzz/$(1): tests/fuzz/$(1).c tests/fuzz/replay.c $$(FUZZ_$(1):.o=.c) $$(FUZZLIBS_$(1))
	@mkdir -p $$(@D)
	$$(ASAN_CC) $$(FUZZINC_$(1)) -o $$@ $$(filter %.c %.a,$$^)
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call ASAN_RULE,$(t))))
$(foreach t,$(FUZZ_TESTS),$(eval $(call ASAN_FUZZ_RULE,$(t))))

# CBMC on the harnesses of tests/proof: minutes; tools/cbmc.sh finds or fetches it. K= picks by name.
.PHONY: proofs
proofs: ## bounded proofs: memory gate, chain walk, vsock credit, tar and path walks, rate limiter
	@MICA_CACHE='$(MICA_CACHE)' tools/prove $(K:%=-k %) $(wildcard tests/proof/*.c)

# The vmm under ASan and UBSan, for the hostile guests. Its walls are off: tests/guest/open_walls.c says why.
ASAN_VMM := $(filter-out $(LIB_SANDBOX),$(VMM_OBJS)) tests/guest/open_walls.o
$(O)/asan/obj/%.o: %.c
	@mkdir -p $(@D)
	$(ASAN_CC) -MMD -MP -c -o $@ $<
$(O)/asan/vmm: $(ASAN_VMM:%=$(O)/asan/obj/%)
	gcc -fsanitize=address,undefined -Wl,--wrap=pthread_attr_setstacksize -o $@ $^ -lpthread
-include $(shell find $(O)/asan/obj -name '*.d' 2>/dev/null)
.PHONY: asan-vmm hostile
asan-vmm: $(O)/asan/vmm ## the vmm under ASan and UBSan (without its system call filters)
hostile: progs asan-vmm ## hostile guests in full: whole sweeps, ten times the storms, a guest for each row; both builds; minutes
	tests/guest/hostile.py $(O)/bin/vmm --jail $(O)/bin/jail --full
	tests/guest/hostile.py $(O)/asan/vmm --full

# Branches taken by the unit tests and the fuzz corpora (gcc, glibc, -O0). Counts start at zero with each run.
COV_CC = gcc -w -std=gnu11 -O0 -g --coverage -fprofile-update=atomic -D_GNU_SOURCE -I. -isystem $(O)/deps/bearssl/inc -isystem $(O)/deps/yaml/include
COV_ITEMS = $(foreach f,$(FUZZ_TESTS),'=cov-fuzz/$(f) $(O)/cov/fuzz/$(f) tests/fuzz/corpus/$(f)')
.PHONY: coverage
coverage: $(UNIT_TESTS:%=$(O)/cov/unit/%) $(FUZZ_TESTS:%=$(O)/cov/fuzz/%) ## branches that unit tests and fuzz corpora take in the rooms that read foreign bytes
	@find $(O)/cov -name '*.gcda' -delete
	@$(TAP_RUN) -j 2 $(UNIT_TESTS:%=$(O)/cov/unit/%) $(COV_ITEMS)
	@tools/coverage $(O)/cov $(MISSED:%=-m %)
$(O)/cov/obj/cli/walls.o: $(O)/gen/walls.c
	@mkdir -p $(@D)
	$(COV_CC) -MMD -MP -c -o $@ $<
$(O)/cov/obj/%.o: %.c | $(O)/deps/libbearssl.a $(O)/deps/libyaml.a
	@mkdir -p $(@D)
	$(COV_CC) -MMD -MP -c -o $@ $<
define COV_RULE
$(O)/cov/$(1)/$(2): $(O)/cov/obj/tests/$(1)/$(2).o $$(addprefix $(O)/cov/obj/,$(3)) $(4)
	@mkdir -p $$(@D)
	$$(COV_CC) $$(addprefix -Wl$$(comma)--wrap=,$$(call INDUCED,$(2))) -o $$@ $$(filter %.o %.a,$$^)
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call COV_RULE,unit,$(t),$$(UNIT_$(t)),$$(UNITLIBS_$(t)))))
$(foreach t,$(FUZZ_TESTS),$(eval $(call COV_RULE,fuzz,$(t),tests/fuzz/replay.o $$(FUZZ_$(t)),$$(FUZZLIBS_$(t)))))

-include $(shell find $(O)/obj $(O)/cov/obj -name '*.d' 2>/dev/null)
