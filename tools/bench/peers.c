/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/peers.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "vmm/util.h"

#define BUNDLE	  "/bench/bundle"
#define SPEC	  BUNDLE "/config.json"

static int add_words(struct launch_argv *argv, const char *const words[], struct error *err)
{
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && words[i]; i++)
		rc = launch_arg(argv, err, "%s", words[i]);
	return rc;
}

/*
 * QEMU's microvm: qboot (SeaBIOS, its default, takes 330 ms more), ACPI (without, our kernel did not
 * come up in 40 s), none of the old devices.
 */
int peer_qemu(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
	      struct error *err)
{
	const char *const words[] = {
		subject->program, "-L", "/usr/share/qemu", "-bios", "qboot.rom", "-accel", "kvm", "-cpu", "host",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-global",
		"virtio-mmio.force-legacy=false", "-kernel", guest->reset ? PLACE_RESET : PLACE_KERNEL, NULL,
	};
	int rc = add_words(argv, words, err);

	if (rc == 0)
		rc = launch_arg(argv, err, "-M");
	if (rc == 0)
		rc = launch_arg(argv, err, "microvm,acpi=on,pit=off,pic=off,rtc=off,isa-serial=%s",
				guest->console ? "on" : "off");
	if (rc == 0)
		rc = launch_arg(argv, err, "-m");
	if (rc == 0)
		rc = launch_arg(argv, err, "%u", guest->memory_mib);
	if (rc == 0)
		rc = launch_arg(argv, err, "-smp");
	if (rc == 0)
		rc = launch_arg(argv, err, "%u", guest->vcpus);
	if (rc == 0 && guest->console)
		rc = add_words(argv, (const char *const[]){ "-serial", "stdio", NULL }, err);
	if (rc == 0 && !guest->reset)
		rc = add_words(argv, (const char *const[]){ "-initrd", PLACE_INIT, "-append", guest->args, NULL },
			       err);
	if (rc == 0 && guest->disk) {
		rc = launch_arg(argv, err, "-drive");
		if (rc == 0)
			rc = launch_arg(argv, err, "id=d,file=%s,format=raw,if=none,cache=none,aio=native",
					guest->disk);
		if (rc == 0)
			rc = add_words(argv, (const char *const[]){ "-object", "iothread,id=io", "-device",
					"virtio-blk-device,drive=d,iothread=io", NULL }, err);
	}
	if (rc == 0 && guest->tap) {
		rc = launch_arg(argv, err, "-netdev");
		if (rc == 0)
			rc = launch_arg(argv, err, "tap,id=n,ifname=%s,script=no,downscript=no,vhost=off",
					guest->tap);
		if (rc == 0)
			rc = add_words(argv, (const char *const[]){ "-device", "virtio-net-device,netdev=n", NULL },
				       err);
	}
	return rc;
}

/* It loads bzImages only, and puts words of its own before the command line. */
int peer_kvmtool(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
		 struct error *err)
{
	const char *const words[] = { subject->program, "run", "-k", PLACE_BZIMAGE, "-i", PLACE_INIT, "-p",
				      guest->args, "--console", "serial", NULL };

	if (guest->reset || !subject->bzimage)
		return error_set(err, ENOTSUP, "it runs bzImages only%s",
				 guest->reset ? "" : ", and beside this kernel there is none");
	int rc = add_words(argv, words, err);

	if (rc == 0)
		rc = launch_arg(argv, err, "-m%u", guest->memory_mib);
	if (rc == 0)
		rc = launch_arg(argv, err, "-c%u", guest->vcpus);
	if (rc == 0 && guest->disk)
		rc = launch_arg(argv, err, "-d%s,direct", guest->disk);
	if (rc == 0)
		rc = launch_arg(argv, err, guest->tap ? "-nmode=tap,tapif=%s" : "-nmode=none%s",
				guest->tap ? guest->tap : "");
	return rc;
}

int peer_oci(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
	     struct error *err)
{
	(void)guest;
	return add_words(argv, (const char *const[]){ subject->program, "--root", "/run/oci", "run", "--bundle",
			 BUNDLE, subject->container, NULL }, err);
}

/* Its own default configuration, without a terminal, with /bin/true (a static busybox) as command. */
int peer_oci_prepare(const struct subject *subject, struct error *err)
{
	const char *const argv[] = { subject->program, "spec", "--bundle", BUNDLE, NULL };
	int rc = -1;

	unlink(SPEC);
	cleanup_free char *said = place_output_of(argv);
	json_t *spec = said ? json_load_file(SPEC, 0, NULL) : NULL;
	json_t *process = json_object_get(spec, "process");

	if (process) {
		rc = json_object_set_new(process, "terminal", json_false());
		rc |= json_object_set_new(process, "args", json_pack("[s]", "/bin/true"));
		rc |= json_dump_file(spec, SPEC, 0);
	}
	json_decref(spec);
	return rc ? error_set(err, EIO, "`spec --bundle " BUNDLE "` failed") : 0;
}

int peer_bwrap(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
	       struct error *err)
{
	(void)guest;
	return add_words(argv, (const char *const[]){ subject->program, "--unshare-all", "--die-with-parent",
			 "--ro-bind", BUNDLE "/rootfs", "/", "/bin/true", NULL }, err);
}

int peer_plain(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
	       struct error *err)
{
	(void)guest;
	return launch_arg(argv, err, "%s", subject->program);
}
