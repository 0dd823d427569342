# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What quickstart and check share: packages, builds, progress, and the choice of a host for guests.
# Source it with `top` set to the root of the repository.

cd "$top" || exit 1
build=$(realpath -m "${MOTE_BUILD:-$top/build}")
export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
export MOTE_CACHE=${MOTE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mote}

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# step NAME CMD..: run a long step quietly, its output into a log. Progress: a line that counts seconds
# on a terminal, a line a minute elsewhere.
step() {
	local name=$1 log rc=0 start=$SECONDS pid
	shift
	mkdir -p "$build/logs"
	log=$build/logs/$(tr -cs '[:alnum:]' - <<<"$name" | sed 's/-$//').log
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	local said=$start
	while kill -0 $pid 2>/dev/null; do
		if [ -t 2 ]; then
			printf '\r%-44s %4d s' "$name" $((SECONDS - start)) >&2
		elif [ $((SECONDS - said)) -ge 60 ]; then
			said=$SECONDS
			printf '%-44s %4d s so far\n' "$name" $((SECONDS - start)) >&2
		fi
		sleep 0.3
	done
	[ ! -t 2 ] || printf '\r' >&2
	wait $pid || rc=$?
	if [ $rc -ne 0 ]; then
		printf '%-44s failed (%d), %d s; the end of %s:\n' "$name" $rc $((SECONDS - start)) "$log" >&2
		tail -n 25 "$log" >&2
		return $rc
	fi
	printf '%-44s %4d s\n' "$name" $((SECONDS - start)) >&2
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Before a step that needs root: ask for the password now, where the progress line can't hide it.
need_root() {
	[ "$(id -u)" = 0 ] || sudo -v || die 'this needs root: run it as root, or install sudo'
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
	if [ ${#missing[@]} -gt 0 ]; then
		need_root
		step "installing ${#missing[@]} packages" apt_install "${missing[@]}"
	fi
}

# The guest kernel, the test host and Debian's kernel come by `apt-get download`, which needs the lists.
apt_lists() {
	[ -n "$(apt-cache policy linux-source-6.12 2>/dev/null)" ] && return
	need_root
	step 'reading the package lists' as_root apt-get update -q
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

# Sets `host` to the command prefix that gives its command a KVM that can run Linux: nothing where this
# machine's own can (or sudo, where only root may use it), the test host otherwise; and in_testhost to 1
# then. Says which, and why, in one line.
choose_host() {
	local why
	host=() in_testhost=
	if why=$("$build/mote" doctor --kvm 2>&1); then
		say "guests run on this machine's own /dev/kvm"
	elif [ -e /dev/kvm ] && [ "$(id -u)" != 0 ] && sudo -n "$build/mote" doctor --kvm >/dev/null 2>&1; then
		host=(sudo -n)
		say "guests run on this machine's own /dev/kvm, which only root may use"
	else
		host=("$top/tests/testhost/run" -s 2 -m 6144 -t "${MOTE_TESTHOST_TIMEOUT:-3300}")
		in_testhost=1
		say "guests run in the test host (QEMU, in software): $(tail -n 1 <<<"$why")"
		# There the machine's /tmp, /run and /dev/shm are empty.
		case $build/ in /tmp/* | /run/* | /dev/shm/*) die "\"$build\": the test host can't see what lies below /tmp, /run and /dev/shm" ;; esac
	fi
}
