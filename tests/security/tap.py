# SPDX-License-Identifier: Apache-2.0
"""TAP for tests that are plain functions: run(globals()) runs each test_..., in the order written."""
import sys
import traceback


def run(module):
    tests = [(name, f) for name, f in module.items() if name.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}")
    for i, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {i} - {name}")
        except Exception:  # whatever it is, the others are to run
            failed += 1
            print(f"not ok {i} - {name}")
            print("".join("# " + line for line in traceback.format_exc().splitlines(True)))
    sys.exit(1 if failed else 0)
