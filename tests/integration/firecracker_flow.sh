#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# firecracker_flow.sh SOCKET FILES VSOCK: the life of a microVM as Firecracker's guides tell it, a curl a step.
# FILES: where the monitor finds kernel, root, disk, disk2, exercise; VSOCK: where we find its vsock. The guest has a
# tap "mtflow0", and runs `exercise vsock 52`. Ends at the first answer that is not the expected one.
set -euo pipefail
socket=$1 files=$2 vsock=$3 calls=0

# call STATUS METHOD PATH [BODY]: the answer's body as $answer.
call() {
	local want=$1 method=$2 path=$3 body=()
	[ $# -lt 4 ] || body=(-H 'Content-Type: application/json' -d "$4")
	answer=$(curl -s -S -m 60 --unix-socket "$socket" -X "$method" -H 'Accept: application/json' "${body[@]}" \
		-w '\n%{http_code}' "http://localhost$path")
	local got=${answer##*$'\n'}
	answer=${answer%$'\n'*}
	calls=$((calls + 1))
	[ "$got" = "$want" ] && return
	echo "$method $path: status $got instead of $want: $answer" >&2
	exit 1
}

# has TEXT..: the last answer has each.
has() {
	local text
	for text in "$@"; do
		[[ $answer == *"$text"* ]] || { echo "no $text in: $answer" >&2; exit 1; }
	done
}

# until_has TEXT PATH: GET it until it does.
until_has() {
	for ((try = 0; try < 600; try++)); do
		call 200 GET "$2"
		[[ $answer == *"$1"* ]] && return
		sleep 0.1
	done
	echo "$2 has no $1: $answer" >&2
	exit 1
}

# Before the start: what there is, and the configuration.
call 200 GET /
has '"state":"Not started"' '"app_name":'
call 200 GET /version
has '"firecracker_version":"1.'
call 200 GET /machine-config
has '"vcpu_count":1' '"mem_size_mib":128'
call 204 PUT /logger '{"log_path": "'"$files"'/log", "level": "Debug", "show_level": true, "show_log_origin": true}'
call 204 PUT /metrics '{"metrics_path": "'"$files"'/metrics"}'
call 400 PUT /boot-source '{"kernel_image_path": "'"$files"'/nope"}'
call 204 PUT /boot-source '{"kernel_image_path": "'"$files"'/kernel", "boot_args": "console=ttyS0 reboot=k panic=1 quiet rootfstype=erofs init=/bin/sh"}'
call 204 PUT /machine-config '{"vcpu_count": 2, "mem_size_mib": 256, "smt": false, "track_dirty_pages": false}'
call 400 PUT /machine-config '{"vcpu_count": 0, "mem_size_mib": 256}'
call 204 PATCH /machine-config '{"vcpu_count": 1}'
call 200 GET /machine-config
has '"vcpu_count":1' '"mem_size_mib":256'
call 204 PUT /drives/rootfs '{"drive_id": "rootfs", "path_on_host": "'"$files"'/root", "is_root_device": true, "is_read_only": true}'
call 204 PUT /drives/scratch '{"drive_id": "scratch", "path_on_host": "'"$files"'/disk", "is_root_device": false, "is_read_only": false,
	"rate_limiter": {"bandwidth": {"size": 10485760, "refill_time": 100}, "ops": {"size": 1000, "refill_time": 100}}}'
call 204 PUT /drives/exercise '{"drive_id": "exercise", "path_on_host": "'"$files"'/exercise", "is_root_device": false, "is_read_only": true}'
call 400 PUT /drives/other '{"drive_id": "rootfs", "path_on_host": "'"$files"'/root", "is_root_device": true}'
call 204 PUT /network-interfaces/eth0 '{"iface_id": "eth0", "guest_mac": "06:00:AC:10:00:02", "host_dev_name": "mtflow0"}'
call 204 PUT /vsock '{"guest_cid": 3, "uds_path": "'"$files"'/v.sock"}'
call 204 PUT /entropy '{"rate_limiter": {"bandwidth": {"size": 1000, "one_time_burst": 0, "refill_time": 100}}}'
call 400 GET /balloon
call 204 PUT /balloon '{"amount_mib": 0, "deflate_on_oom": true, "stats_polling_interval_s": 1, "free_page_hinting": true}'
call 200 GET /balloon
has '"amount_mib":0' '"stats_polling_interval_s":1'
call 400 GET /balloon/statistics
call 200 GET /mmds
has '{}'
call 400 PATCH /mmds '{"a": 1}'
call 400 PUT /mmds/config '{"network_interfaces": ["nope"]}'
call 204 PUT /mmds/config '{"network_interfaces": ["eth0"], "version": "V1"}'
call 204 PUT /mmds '{"latest": {"meta-data": {"ami-id": "ami-12345678"}}}'
call 204 PATCH /mmds '{"latest": {"meta-data": {"reservation-id": "r-fea54097"}}}'
call 200 GET /mmds
has '"ami-id":"ami-12345678"' '"reservation-id":"r-fea54097"'
call 200 GET /vm/config
has '"drive_id":"rootfs"' '"iface_id":"eth0"' '"guest_cid":3' '"mmds-config":{"version":"V1"'
call 400 PUT /drives/rootfs '{"drive_id": "rootfs", "bogus": 1}'
call 400 GET /nope
call 400 PATCH /vm '{"state": "Paused"}'

# The start.
call 204 PUT /actions '{"action_type": "InstanceStart"}'
call 200 GET /
has '"state":"Running"'
call 400 PUT /actions '{"action_type": "InstanceStart"}'
call 400 PUT /boot-source '{"kernel_image_path": "'"$files"'/kernel"}'
call 400 PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 128}'

# vsock: an echo of what the guest is sent, once it listens.
echo_by_vsock() {
	/usr/bin/python3 - "$vsock/v.sock" "$1" <<'EOF'
import socket
import sys

text = sys.argv[2].encode()
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(60)
    s.connect(sys.argv[1])
    s.sendall(b"CONNECT 52\n")
    answers = s.makefile("rb")
    assert answers.readline().startswith(b"OK ")
    s.sendall(b"e" + text)
    assert answers.read(len(text)) == text
EOF
}
for ((try = 0; try < 600; try++)); do
	! echo_by_vsock hello 2>/dev/null || break
	sleep 0.2
done
[ $try -lt 600 ] || { echo 'no echo by vsock' >&2; exit 1; }

# The balloon.
call 204 PATCH /balloon '{"amount_mib": 32}'
until_has '"actual_mib":32' /balloon/statistics
has '"target_pages":8192' '"actual_pages":8192'
until_has '"total_memory":' /balloon/statistics
call 400 PATCH /balloon '{"amount_mib": 257}'
call 204 PATCH /balloon/statistics '{"stats_polling_interval_s": 2}'
call 400 PATCH /balloon/statistics '{"stats_polling_interval_s": 0}'
call 200 GET /balloon
has '"amount_mib":32' '"stats_polling_interval_s":2'
call 204 PATCH /balloon '{"amount_mib": 0}'
until_has '"actual_mib":0' /balloon/statistics
call 204 PATCH /balloon/hinting/start '{"acknowledge_on_stop": true}'
until_has '"host_cmd":1' /balloon/hinting/status
call 204 PATCH /balloon/hinting/stop

# Pause and resume.
call 204 PATCH /vm '{"state": "Paused"}'
call 200 GET /
has '"state":"Paused"'
call 204 PATCH /vm '{"state": "Resumed"}'
call 200 GET /
has '"state":"Running"'
echo_by_vsock 'after the pause'

# Limits, and another image for a drive.
call 204 PATCH /drives/scratch '{"drive_id": "scratch", "rate_limiter": {"bandwidth": {"size": 1048576, "refill_time": 100}}}'
call 204 PATCH /network-interfaces/eth0 '{"iface_id": "eth0", "rx_rate_limiter": {"bandwidth": {"size": 1048576, "refill_time": 100}},
	"tx_rate_limiter": {"ops": {"size": 1000, "refill_time": 100}}}'
call 204 PATCH /drives/scratch '{"drive_id": "scratch", "path_on_host": "'"$files"'/disk"}'
call 400 PATCH /drives/scratch '{"drive_id": "scratch", "path_on_host": "'"$files"'/disk3"}'
call 204 PATCH /drives/scratch '{"drive_id": "scratch", "path_on_host": "'"$files"'/disk2"}'
call 400 PATCH /drives/nope '{"drive_id": "nope", "path_on_host": "'"$files"'/disk"}'
call 200 GET /vm/config
has '"bandwidth":{"size":1048576' '"path_on_host":"'"$files"'/disk2"'

# Metadata while it runs; metrics; the end.
call 204 PUT /mmds '{"latest": {"meta-data": {"ami-id": "ami-87654321"}}}'
call 200 GET /mmds
has ami-87654321
call 204 PUT /actions '{"action_type": "FlushMetrics"}'
call 204 PUT /actions '{"action_type": "SendCtrlAltDel"}'
echo "$calls calls"
