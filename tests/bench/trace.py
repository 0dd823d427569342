# SPDX-License-Identifier: Apache-2.0
"""What KVM's trace points say about a run: when the guest made its mark, and exits by kind."""
import re
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
MARK_GPA = 0xC0000000
EVENTS = ("kvm_exit", "kvm_userspace_exit")
MARK_EVENT = "kvm_mmio"


def usable():
    """Why KVM can't be traced here, or None."""
    try:
        (TRACEFS / "events/kvm/kvm_exit/enable").read_text()
        return None
    except OSError as e:
        return f"{e.filename}: {e.strerror}"


def _event(name):
    return TRACEFS / "events/kvm" / name


def _names(event):
    """(isa or None, number) -> name, from the event's print format, where the kernel has them."""
    text = _event(event).joinpath("format").read_text()
    found = {}
    # Each __print_symbolic( .. ) is one instruction set's list; VMX's comes first (isa 1), then SVM's.
    for isa, part in enumerate(re.split(r"__print_symbolic\(", text)[1:], start=1):
        # { 0x060, "interrupt" }, { 2, "KVM_EXIT_" "IO" }
        for value, name in re.findall(r'\{\s*(-?\w+)\s*,\s*((?:"\w+"\s*)+)\}', part):
            name = name.replace('"', "").replace(" ", "").removeprefix("KVM_EXIT_")
            found.setdefault((isa, int(value.rstrip("UL"), 0)), name)
    return found


class Tracer:
    """Counts exits and notes the mark's time for what runs between start() and stop()."""

    def __init__(self):
        self.names = {event: _names(event) for event in EVENTS}

    def start(self, histograms=True):
        self.stop_all()
        (TRACEFS / "trace_clock").write_text("mono")
        (TRACEFS / "trace").write_text("")
        mark = _event(MARK_EVENT)
        mark.joinpath("filter").write_text(f"type == 2 && gpa == {MARK_GPA:#x}")
        mark.joinpath("enable").write_text("1")
        if histograms:
            for event, keys in zip(EVENTS, ("exit_reason,isa", "reason")):
                _event(event).joinpath("trigger").write_text(f"hist:keys={keys}\n")

    def stop_all(self):
        _event(MARK_EVENT).joinpath("enable").write_text("0")
        _event(MARK_EVENT).joinpath("filter").write_text("0")
        for event in EVENTS:
            trigger = _event(event).joinpath("trigger")
            for line in trigger.read_text().splitlines():
                if line.startswith("hist:"):
                    trigger.write_text("!" + line.split(" [")[0] + "\n")

    def mark_ns(self, start_ns):
        """ns from start_ns (CLOCK_MONOTONIC) to the guest's mark; None if it made none."""
        for line in (TRACEFS / "trace").read_text().splitlines():
            m = re.search(r"\s(\d+)\.(\d{6}): kvm_mmio:", line)
            if m:
                return int(m[1]) * 10**9 + int(m[2]) * 1000 - start_ns
        return None

    def exits(self):
        """({kind: n} of the processor's exits, {kind: n} of those that went to user space)."""
        result = []
        for event in EVENTS:
            counts = {}
            text = _event(event).joinpath("hist").read_text()
            for keys, hits in re.findall(r"\{ (.*?) \} hitcount:\s+(\d+)", text):
                key = {k: int(v, 0) for k, v in re.findall(r"(\w+):\s+(-?\w+)", keys)}
                isa = key.get("isa", 1)
                value = key.get("exit_reason", key.get("reason"))
                name = self.names[event].get((isa, value), f"{value:#x}")
                counts[name] = counts.get(name, 0) + int(hits)
            result.append(dict(sorted(counts.items(), key=lambda item: -item[1])))
        return result
