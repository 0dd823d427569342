# SPDX-License-Identifier: Apache-2.0
"""`mote bench show`, `compare` and `budget`: results that were kept, in and out of the command line.
None of it needs KVM."""
import copy
import csv
import html.parser
import io
import json
import subprocess
import xml.etree.ElementTree as ET

import pytest

from conftest import BUILD, TIMEOUT

SVG = "{http://www.w3.org/2000/svg}"
EVIL = "<script>alert(1)</script>&\"'\u6f22\u5b57" + "W" * 400


def figure(name="to_init", values=(91.1, 91.3, 91.2, 91.6, 91.2), unit="ms", better="lower", title="exec to init"):
    return {"name": name, "title": title, "unit": unit, "better": better, "values": list(values)}


def subject(name="mote", **more):
    return {"name": name, "version": "0.1.0", "peer": False, "figures": [figure()], **more}


def result(*subjects, **more):
    return {"mote_bench": 1, "what": "boot", "date": "2026-11-26T10:00:00Z",
            "host": {"kernel": "6.1", "cpu": "a CPU", "cpus": 1, "virtual_time": True},
            "options": {"rounds": 5, "memory_mib": 128}, "subjects": list(subjects), **more}


TIMELINE = {
    "stages": [{"name": "exec", "start_ms": 0, "end_ms": 1.5}, {"name": "ready", "start_ms": 1.5, "end_ms": 1.5},
               {"name": "kernel", "start_ms": 1.5, "end_ms": 40}],
    "initcalls": [{"name": f"call_{i}", "start_ms": 10 + i, "end_ms": 10.5 + i} for i in range(20)],
    "exits": [{"at_ms": round(2 + i * 0.003, 3), "reason": "npf" if i % 10 else f"reason {i % 90}"} for i in range(10000)],
}


@pytest.fixture
def bench(tmp_path):
    """bench(subcommand, *arguments) with dicts as files of JSON; the finished process."""

    def run(*arguments):
        paths = []
        for i, argument in enumerate(arguments):
            if isinstance(argument, dict):
                path = tmp_path / f"{i}.json"
                path.write_text(json.dumps(argument))
                argument = path
            paths.append(str(argument))
        return subprocess.run([BUILD / "mote", "bench", *paths], capture_output=True, text=True,
                              timeout=TIMEOUT, check=False)

    return run


def one_line(process, text):
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.count("\n") == 1 and text in process.stderr


def test_table(bench):
    peer = subject("QEMU microvm", peer=True, version="7.2",
                   figures=[figure(values=[182.2, 182.6, 182.4, 183.2, 182.4]), figure("exits", [1667] * 5, "", title="exits")],
                   counts={"exits by reason": {"msr": 121, "npf": 1337, **{f"r{i:02}": 1 for i in range(14)}}})
    mote = subject(figures=[figure(), figure("exits", [748] * 5, "", title="exits")])
    shown = bench("show", result(mote, peer, left_out=[{"name": "runc", "why": "not installed"}]))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == """\
boot: rounds 5, memory_mib 128
Linux 6.1, a CPU, 1 CPU, virtual time (1 ns an instruction), 2026-11-26T10:00:00Z
Median (minimum to maximum); ratios of the same round.

                            exec to init [ms]  exits
  mote                    91.2 (91.1 to 91.6)    748
  QEMU microvm         182.4 (182.2 to 183.2)   1667
  mote / QEMU microvm                    0.50   0.45

                                   rounds    min    p50    p90    p99    max
  mote          exec to init [ms]       5   91.1   91.2   91.5   91.6   91.6
  QEMU microvm  exec to init [ms]       5  182.2  182.4  183.0  183.2  183.2

  exits by reason of QEMU microvm: 1337 npf, 121 msr, 1 r00, 1 r01, 1 r02, 1 r03, 1 r04, 1 r05, 1 r06, 1 r07, 1 r08,
    1 r09, 4 other
  left out: runc: not installed
"""


def test_wide_tables_are_folded(bench):
    figures = [figure(f"f{i}", title=f"a figure with a long title, number {i}") for i in range(12)]
    shown = bench("show", result(subject(EVIL, figures=figures), subject("peer", peer=True, figures=figures)))
    assert shown.returncode == 0
    lines = [line for line in shown.stdout.splitlines()]
    assert max(map(len, lines)) <= 120
    assert not any(line.endswith(" ") for line in lines)
    # Once as a column, twice with percentiles, whose table is folded too.
    assert sum("number 11" in line for line in lines) == 1 + 2 * 2


def test_csv(bench):
    shown = bench("show", "--csv", result(subject('a "name", quoted', figures=[figure(values=[0.1, 1e9])])))
    assert list(csv.reader(io.StringIO(shown.stdout))) == [
        ["subject", "figure", "unit", "round", "value"],
        ['a "name", quoted', "to_init", "ms", "1", "0.1"],
        ['a "name", quoted', "to_init", "ms", "2", "1000000000"],
    ]


def test_json_is_what_was_read(bench):
    given = result(subject(counts={"system calls": {"ioctl": 38}}, timeline=TIMELINE), left_out=[])
    assert json.loads(bench("show", "--json", given).stdout) == given


def drawn(bench, tmp_path, given):
    svg, page = tmp_path / "out.svg", tmp_path / "out.html"
    shown = bench("show", "--svg", svg, "--html", page, given)
    assert (shown.returncode, shown.stderr) == (0, "")
    return ET.parse(svg).getroot(), page.read_text()


def test_timeline(bench, tmp_path):
    root, _ = drawn(bench, tmp_path, result(subject(timeline=TIMELINE), subject("other", peer=True, timeline=TIMELINE)))
    bars = [bar for bar in root.iter(SVG + "rect") if bar.find(SVG + "title") is not None]
    titles = [bar.find(SVG + "title").text for bar in bars]
    # Twice: two subjects. The initcalls' row has all 20, of which 8 have rows of their own too.
    assert titles.count("kernel: 38.5 ms (1.50 to 40)") == 2
    assert titles.count("ready: 0 ms (1.50 to 1.50)") == 2
    assert sum(title.startswith("call_") for title in titles) == 2 * (20 + 8)
    assert all(float(bar.get("width")) >= 1.5 for bar in bars)
    right = float(root.get("viewBox").split()[2])
    assert all(0 <= float(bar.get("x")) <= float(bar.get("x")) + float(bar.get("width")) <= right for bar in bars)
    heights = [float(e.get("y")) for e in root.iter() if e.get("y") and not e.get("y").endswith("%")]
    assert max(heights) < float(root.get("viewBox").split()[3])
    lanes = [g.find(SVG + "title").text for g in root.iter(SVG + "g") if g.find(SVG + "path") is not None]
    # i % 10 == 0: 9 reasons by turns; 7 lanes by number, then the rest.
    assert len(lanes) == 16 and lanes[0] == "9000 npf"
    assert sum(int(lane.split()[0]) for lane in lanes[:8]) == 10000
    # At most a tick a pixel.
    ticks = [g.find(SVG + "path").get("d").count("M") for g in root.iter(SVG + "g") if g.find(SVG + "path") is not None]
    assert max(ticks) <= 881


@pytest.mark.parametrize("given", [
    result(subject(timeline={"stages": [{"name": "nothing", "start_ms": 0, "end_ms": 0}]}, figures=[figure(values=[5])])),
    result(subject(EVIL, version=EVIL, figures=[figure(title=EVIL, unit=EVIL)],
                   timeline={"stages": [{"name": EVIL, "start_ms": 0, "end_ms": 1e9}],
                             "initcalls": [{"name": EVIL, "start_ms": 5, "end_ms": 6}],
                             "exits": [{"at_ms": 1e9, "reason": EVIL}]},
                   counts={EVIL: {EVIL: 1}}), left_out=[{"name": EVIL, "why": EVIL}], options={EVIL: EVIL}),
    result(subject(timeline=TIMELINE, figures=[])),
    result(subject(timeline={"exits": [{"at_ms": 1, "reason": "npf"}]}, figures=[figure(values=[-1e15, 1e15])])),
], ids=["zero", "evil names", "no figures", "extremes"])
def test_pictures_of_odd_results(bench, tmp_path, given):
    root, page = drawn(bench, tmp_path, given)
    assert root.tag == SVG + "svg"
    assert "nan" not in ET.tostring(root, encoding="unicode") and "inf" not in page.replace("information", "")
    Page(page)


class Page(html.parser.HTMLParser):
    """Fails where a page would load or run something, or leaves an element open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        assert tag not in ("script", "img", "link", "iframe", "object") and not {"src", "href", "onload"} & set(names)
        self.tags.append(tag)
        if tag not in ("meta", "rect", "line", "path") or (tag == "rect" and "fill" in names and "class" not in names):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page(bench, tmp_path):
    _, page = drawn(bench, tmp_path, result(subject(timeline=TIMELINE)))
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert Page(page).tags.count("svg") == 2
    # Each picture is XML where it stands.
    for part in page.split("<svg")[1:]:
        ET.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")


def test_no_timeline_no_picture(bench, tmp_path):
    shown = bench("show", "--svg", tmp_path / "x.svg", result(subject()))
    assert shown.returncode == 2 and "only boots have one" in shown.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mote_bench": 1}', "\x00", '{"mote_bench": 1e400}'])
def test_malformed(bench, tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    one_line(bench("show", path), f'mote bench show: "{path}": ')
    one_line(bench("compare", path, result(subject())), f'mote bench compare: "{path}": ')
    one_line(bench("compare", result(subject()), path), f'mote bench compare: "{path}": ')
    one_line(bench("budget", path, path), f'mote bench budget: "{path}": ')
    one_line(bench("budget", result(subject()), path), f'mote bench budget: "{path}": ')


def test_bad_arguments(bench):
    one_line(bench("show"), "takes one file")
    one_line(bench("show", "/nowhere.json"), 'open "/nowhere.json": No such file or directory')
    one_line(bench("show", "--csv", "--json", "x"), "--csv: not with --json")
    one_line(bench("show", "--pdf", "x"), '"--pdf" is not an option')
    one_line(bench("compare", "x"), "takes two files")
    one_line(bench("compare", "x", "y", "--threshold", "-1"), '"-1" is not from 0 to 1000')
    one_line(bench("compare", "x", "y", "--threshold"), "--threshold: needs a value")
    one_line(bench("budget", "x"), "takes two files")
    one_line(bench("nothing"), '"nothing" is not a subcommand')


def slower(factor):
    other = result(subject())
    other["subjects"][0]["figures"][0]["values"] = [factor * v for v in figure()["values"]]
    return other


@pytest.mark.parametrize("factor, arguments, status", [
    (1, [], 0), (1.02, [], 0), (1.05, [], 1), (1.05, ["--threshold", "6"], 0), (1.02, ["--threshold", "1.5"], 1),
    (0.5, [], 0),
])
def test_compare_status(bench, factor, arguments, status):
    assert bench("compare", result(subject()), slower(factor), *arguments).returncode == status
    assert bench("compare", "--json", result(subject()), slower(factor), *arguments).returncode == status


def test_compare_text(bench):
    other = slower(1.05)
    other["host"]["kernel"] = "6.12"
    compared = bench("compare", result(subject()), other)
    assert compared.stdout == """\
Measured under different conditions (old / new): host kernel: 6.1 / 6.12
boot of 2026-11-26T10:00:00Z against 2026-11-26T10:00:00Z: medians, two-sided Mann-Whitney U test at 5 %

                            old   new  change       p     verdict
  mote  exec to init [ms]  91.2  95.8  +5.0 %  0.0079  REGRESSION

1 significant regression of more than 3 %.
"""


def test_compare_json(bench):
    compared = json.loads(bench("compare", "--json", result(subject()), slower(1.05)).stdout)
    row = compared["figures"][0]
    assert compared["regressions"] == 1 and compared["threshold_percent"] == 3
    assert row["p"] == pytest.approx(2 / 252) and row["method"] == "Mann-Whitney U, exact"
    assert row["change_percent"] == pytest.approx(5) and row["verdict"] == "REGRESSION"


BUDGET = {"mote_budget": 1, "what": "boot", "virtual_time": True, "tolerance_percent": 3,
          "options": {"memory_mib": 128}, "budgets": {"mote": {"to_init": 91.2}}}


@pytest.mark.parametrize("amount, status, verdict", [
    (91.2, 0, "within"), (88.6, 0, "within"), (88.5, 1, "EXCEEDED"), (100, 0, "better: lower the budget"), (0, 1, "EXCEEDED"),
])
def test_budget(bench, amount, status, verdict):
    budget = copy.deepcopy(BUDGET)
    budget["budgets"]["mote"]["to_init"] = amount
    checked = bench("budget", result(subject()), budget)
    assert checked.returncode == status and verdict in checked.stdout
    as_json = bench("budget", "--json", result(subject()), budget)
    assert as_json.returncode == status
    assert json.loads(as_json.stdout)["figures"][0]["exceeded"] == bool(status)


@pytest.mark.parametrize("change, text", [
    ({"what": "io"}, "the budget is for `mote bench io`"),
    ({"virtual_time": False}, "the budget is not for virtual time"),
    ({"options": {"memory_mib": 256}}, 'option "memory_mib"'),
    ({"budgets": {"mote": {"exits": 1}}}, 'no "exits" of "mote"'),
    ({"budgets": {"runc": {"to_init": 1}}}, 'no "to_init" of "runc"'),
    ({"budgets": {"mote": {"to_init": -1}}}, "budgets: mote: to_init: -1 is out of range"),
    ({"budgets": {}}, "budgets: there is none"),
    ({"mote_budget": 2}, "mote_budget: not 1"),
    ({"more": 2}, 'unknown key "more"'),
])
def test_budget_that_does_not_fit(bench, change, text):
    one_line(bench("budget", result(subject()), {**BUDGET, **change}), text)
