# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of `run`, which starts this inside the host that it chose."""
import argparse
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile

import devices
import monitors
import starts
import trace

CLONE_NEWNET = 0x40000000
BENCHES = {
    "reset": starts.reset,
    "boot": starts.boot,
    "memory": devices.memory,
    "disk": devices.disk,
    "net": devices.net,
}


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--build", required=True)
    p.add_argument("--tools", required=True)
    p.add_argument("--host", required=True)
    p.add_argument("--rounds", type=int, required=True)
    p.add_argument("--only", default=",".join(BENCHES))
    p.add_argument("--json", action="store_true")
    return p.parse_args()


def progress(line):
    print(line, file=sys.stderr, flush=True)


def run(args, place, tracer, missing):
    """{name: [table]} and {name: why it failed}."""
    tables, failed = {}, {}
    for name in args.only.split(","):
        try:
            tables[name] = BENCHES[name](place, args.rounds, tracer, missing,
                                         lambda line, name=name: progress(f"{name}: {line}"))
        except (monitors.Failed, OSError, subprocess.SubprocessError) as e:
            failed[name] = str(e)
        finally:
            if tracer:
                tracer.stop_all()
    return tables, failed


def main():
    args = arguments()
    missing = []
    why = trace.usable()
    # Taps and addresses stay in a network of our own, which ends with us.
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    directory = tempfile.mkdtemp(prefix="mote-bench.", dir="/dev/shm")
    try:
        place = monitors.Place(directory, args.build, args.tools)
        tables, failed = run(args, place, None if why else trace.Tracer(), missing)
    finally:
        shutil.rmtree(directory)
    if why:
        missing.append(f"KVM's trace points ({why})")
    missing = sorted(set(missing))
    if args.json:
        print(json.dumps({"host": args.host, "kernel": platform.release(), "rounds": args.rounds,
                          "missing": missing, "failed": failed,
                          "benches": {n: [t.as_dict() for t in ts] for n, ts in tables.items()}}))
    else:
        print(f"{args.rounds} rounds, interleaved, after a warm-up round; median (min to max).")
        print(f"Host: {args.host}, Linux {platform.release()}.")
        for found in tables.values():
            for table in found:
                print("\n" + table.text())
        if missing:
            print("\nNot installed, hence not in the tables: " + ", ".join(missing))
    for name, reason in failed.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


sys.exit(main())
