# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What quickstart and check share: packages, builds, progress, and the choice of a host for guests.
# Source it with `top` set to the root of the repository.

build=${MOTE_BUILD:-$top/build}
export MOTE_CACHE=${MOTE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mote}

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# step NAME CMD..: run a long step quietly; show a line that counts seconds, keep the output in a log.
step() {
	local name=$1 log rc=0 start=$SECONDS pid
	shift
	mkdir -p "$build/logs"
	log=$build/logs/$(tr -cs '[:alnum:]' - <<<"$name" | sed 's/-$//').log
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	if [ -t 2 ]; then
		while kill -0 $pid 2>/dev/null; do
			printf '\r%-44s %4d s' "$name" $((SECONDS - start)) >&2
			sleep 0.5
		done
		printf '\r' >&2
	fi
	wait $pid || rc=$?
	if [ $rc -ne 0 ]; then
		printf '%-44s failed (%d), %d s; the end of %s:\n' "$name" $rc $((SECONDS - start)) "$log" >&2
		tail -n 25 "$log" >&2
		return $rc
	fi
	printf '%-44s %4d s\n' "$name" $((SECONDS - start)) >&2
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
	as_root apt-get update -q &&
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# install_packages LIST..: install what the files name and the machine lacks.
install_packages() {
	local missing=() p
	for p in $(cat "$@" | grep -v '^#' | sort -u); do
		[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)" = 'ii ' ] || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] || step "installing ${#missing[@]} packages" apt_install "${missing[@]}"
}

# compile DIR [meson options..]: configure once, then build.
compile() {
	local dir=$1
	shift
	[ -e "$dir/build.ninja" ] || meson setup "$dir" "$top" "$@" || return
	ninja -C "$dir"
}

# Build the guest kernel, or find it in the cache, and link it into the build directory.
guest_kernel() {
	local dir
	dir=$("$top/guest-kernel-config/build") || return
	ln -sfn "$dir/vmlinux-x86_64" "$build/vmlinux-x86_64"
	ln -sfn "$dir/bzImage-x86_64" "$build/bzImage-x86_64"
}

# Sets `host` to the command prefix that gives its command a KVM that can run Linux: empty where this
# machine's own can, the test host otherwise. Says which, and why, in one line.
choose_host() {
	local why
	if why=$("$build/mote" doctor --kvm 2>&1); then
		host=()
		say "guests run on this machine's own /dev/kvm"
	else
		host=("$top/tests/testhost/run" -s 2 -m 6144 -t "${MOTE_TESTHOST_TIMEOUT:-1800}")
		say "guests run in the test host (QEMU, in software): $(tail -n 1 <<<"$why")"
	fi
}
