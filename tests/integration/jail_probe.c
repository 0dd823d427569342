/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the monitor: says, as one JSON object, what it is and what it can see and do in the
 * jail it finds itself in. Behind the jailer's arguments:
 *
 *	[--out FILE] [--wait] [--exit N] [--trap]
 *
 * --out: there instead of to stdout; --wait: then until SIGTERM or SIGINT, which end it with status 42;
 * --trap: end by SIGILL. With --no-api --config-file /dev/fd/N it also says what that file and
 * those that it names hold.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static FILE *out;

static void print_text(const char *text)
{
	putc('"', out);
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else
			fprintf(out, (unsigned char)*text < 32 ? "\\u%04x" : "%c", *text);
	putc('"', out);
}

static void print_list(const char *key, char *const *words)
{
	fprintf(out, "\"%s\": [", key);
	for (int i = 0; words[i]; i++) {
		fputs(i ? ", " : "", out);
		print_text(words[i]);
	}
	fputs("], ", out);
}

static void print_ids(void)
{
	uid_t r, e, s;
	gid_t groups[64];

	getresuid(&r, &e, &s);
	fprintf(out, "\"uids\": [%u, %u, %u], ", r, e, s);
	getresgid(&r, &e, &s);
	fprintf(out, "\"gids\": [%u, %u, %u], \"groups\": %d, ", r, e, s, getgroups(64, groups));
	fprintf(out, "\"pid\": %d, \"ppid\": %d, \"sid\": %d, ", getpid(), getppid(), getsid(0));
}

static void print_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	int bounding = 0, ambient = 0, death = 0;

	syscall(SYS_capget, &header, data);
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++) {
		bounding += prctl(PR_CAPBSET_READ, cap);
		ambient += prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0);
	}
	prctl(PR_GET_PDEATHSIG, &death);
	fprintf(out,
		"\"effective\": %u, \"permitted\": %u, \"inheritable\": %u, \"bounding\": %d, "
		"\"ambient\": %d, \"securebits\": %d, \"no_new_privs\": %d, \"death_signal\": %d, ",
		data[0].effective | data[1].effective, data[0].permitted | data[1].permitted,
		data[0].inheritable | data[1].inheritable, bounding, ambient,
		prctl(PR_GET_SECUREBITS), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), death);
}

static void print_limits(void)
{
	static const struct {
		const char *name;
		int resource;
	} limits[] = { { "nofile", RLIMIT_NOFILE },
		       { "fsize", RLIMIT_FSIZE },
		       { "core", RLIMIT_CORE },
		       { "memlock", RLIMIT_MEMLOCK },
		       { "nproc", RLIMIT_NPROC } };
	struct rlimit l;

	for (int i = 0; i < 5; i++) {
		getrlimit(limits[i].resource, &l);
		fprintf(out, "\"%s\": [%lld, %lld], ", limits[i].name, (long long)l.rlim_cur,
			(long long)l.rlim_max);
	}
}

static void print_fds(int own)
{
	const char *separator = "";

	fputs("\"fds\": {", out);
	for (int fd = 0; fd < 20000; fd++) {
		int flags = fcntl(fd, F_GETFL);

		if (flags < 0 || fd == own)
			continue;
		fprintf(out, "%s\"%d\": %d", separator, fd, flags & O_ACCMODE);
		separator = ", ";
	}
	fputs("}, ", out);
}

/* Everything in the file system: type, mode, owner, device. */
static void print_tree(const char *directory, const char **separator)
{
	DIR *dir = opendir(directory[0] ? directory : "/");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char path[4096];
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		if (lstat(path, &st) < 0)
			continue;
		fputs(*separator, out);
		*separator = ", ";
		print_text(path);
		fprintf(out, ": [\"%o\", %u, %u, \"%u:%u\"]", st.st_mode, st.st_uid, st.st_gid,
			major(st.st_rdev), minor(st.st_rdev));
		if (S_ISDIR(st.st_mode))
			print_tree(path, separator);
	}
	if (dir)
		closedir(dir);
}

/* name: 0, or the errno that it failed with */
static void print_try(const char *name, long result)
{
	fprintf(out, "\"%s\": \"%s\", ", name, result < 0 ? strerror(errno) : "done");
}

static long bind_to(int domain, const void *address, socklen_t length)
{
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long result = fd < 0 ? -1 : bind(fd, address, length);
	int why = errno;

	close(fd);
	errno = why;
	return result;
}

static void print_tries(void)
{
	struct sockaddr_in tcp = { .sin_family = AF_INET };

	print_try("open_proc_self_exe", open("/proc/self/exe", O_WRONLY | O_CLOEXEC));
	print_try("open_dev_fd", open("/dev/fd/3", O_RDONLY | O_CLOEXEC));
	print_try("open_kvm", open("/dev/kvm", O_RDWR | O_CLOEXEC));
	print_try("write_root", open("/written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	print_try("write_dev", open("/dev/written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	print_try("write_run", open("/run/written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	print_try("write_vsock", open("/vsock/written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	print_try("mknod", mknod("/node", S_IFCHR | 0600, makedev(1, 1)));
	print_try("symlink", symlink("/etc", "/link"));
	print_try("mount", mount("x", "/dev", "tmpfs", 0, NULL));
	print_try("umount", umount2("/dev", MNT_DETACH));
	print_try("chroot", chroot("/dev"));
	print_try("setuid", setuid(0));
	print_try("securebits_back", prctl(PR_SET_SECUREBITS, 0));
	print_try("kill_parent", kill(getppid() ? getppid() : 2, 0));
	print_try("sethostname", sethostname("x", 1));
	print_try("bind_tcp", bind_to(AF_INET, &tcp, sizeof(tcp)));
	struct sockaddr_un vsock = { .sun_family = AF_UNIX, .sun_path = "/vsock/probe.sock" };

	print_try("bind_vsock", bind_to(AF_UNIX, &vsock, sizeof(vsock)));
}

static void print_place(void)
{
	char cwd[4096], name[256];
	struct if_nameindex *interfaces = if_nameindex();
	const char *separator = "";
	struct statvfs fs;

	gethostname(name, sizeof(name));
	fprintf(out, "\"cwd\": \"%s\", \"hostname\": \"%s\", ", getcwd(cwd, sizeof(cwd)), name);
	fputs("\"interfaces\": [", out);
	for (int i = 0; interfaces && interfaces[i].if_index; i++) {
		fprintf(out, "%s\"%s\"", separator, interfaces[i].if_name);
		separator = ", ";
	}
	fputs("], ", out);
	statvfs("/", &fs);
	fprintf(out, "\"root_flags\": %lu, ",
		fs.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC));
	statvfs("/dev", &fs);
	fprintf(out, "\"dev_flags\": %lu, ",
		fs.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC));
	separator = "";
	fputs("\"files\": {", out);
	print_tree("", &separator);
	fputs("}, ", out);
}

static void print_config(const char *path)
{
	char text[8192], content[256];
	int fd = atoi(path + strlen("/dev/fd/"));
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = 0;
	fprintf(out, "\"config\": %s, \"contents\": {", text);
	const char *separator = "";

	for (char *c = text; (c = strstr(c, "\"/dev/fd/")); c++) {
		int named = atoi(c + strlen("\"/dev/fd/"));

		n = pread(named, content, sizeof(content) - 1, 0);
		content[n < 0 ? 0 : n] = 0;
		fprintf(out, "%s\"%d\": ", separator, named);
		print_text(content);
		separator = ", ";
	}
	fputs("}, ", out);
}

static void on_term(int signum)
{
	(void)signum;
	_exit(42);
}

int main(int argc, char *argv[])
{
	sigset_t term, blocked;
	int status = 0;
	bool wait = false, trap = false;
	const char *config = NULL;

	out = stdout;
	signal(SIGTERM, on_term);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigaddset(&term, SIGINT);
	sigprocmask(SIG_UNBLOCK, &term, &blocked);
	signal(SIGINT, on_term);
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--out") == 0)
			out = fopen(value, "we");
		else if (strcmp(argv[i], "--wait") == 0)
			wait = true;
		else if (strcmp(argv[i], "--exit") == 0)
			status = atoi(value);
		else if (strcmp(argv[i], "--trap") == 0)
			trap = true;
		else if (strcmp(argv[i], "--config-file") == 0)
			config = value;
	}
	if (!out)
		return 3;
	fputs("{", out);
	mode_t mask = umask(0);

	umask(mask);
	fprintf(out, "\"umask\": %u, ", mask);
	print_list("argv", argv);
	print_list("environment", environ);
	fprintf(out, "\"blocked\": [%d, %d, %d, %d, %d], ", sigismember(&blocked, SIGHUP),
		sigismember(&blocked, SIGINT), sigismember(&blocked, SIGTERM),
		sigismember(&blocked, SIGCHLD), sigismember(&blocked, SIGUSR1));
	print_ids();
	print_capabilities();
	print_limits();
	print_fds(out == stdout ? -1 : fileno(out));
	print_place();
	if (config)
		print_config(config);
	print_tries();
	fputs("\"end\": true}\n", out);
	fflush(out);
	if (trap) /* no other signal of its own ends the first process of a PID namespace */
		__builtin_trap();
	while (wait)
		pause();
	return status;
}
