#!/usr/bin/env python3
"""Where products of packed weights spend their time on a GPU, by Nsight Compute: tables in Markdown.

    gpu_profile.py PROGRAM PAGE.md [--seconds 200] [--keep DIR]

Profiles what `bitladder bench layers --check` launches, each product once by the kernel that a model takes, with its
weight in no cache (ncu empties the caches before each pass and leaves the clocks alone).  Of the shapes IN FULL all
columns are measured, of the OTHERS what takes few passes.  One call of ncu for each of `runs`, the most important
first; PAGE is written anew after each, and names those that no time was left for.  What is in PAGE before the line
"<!-- profiles -->" stays.  --keep DIR leaves what ncu wrote there.
"""
import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

IN_FULL = ["28672x4096", "4096x14336"]
OTHERS = ["6144x4096", "4096x4096", "12288x4096", "22016x4096", "4096x11008"]
ROWS = [1, 8, 16, 64, 128, 256, 2048]
WEIGHTS = [f"*_{f}_cuda" for f in ("int8", "int4", "int3", "int2", "int1", "nf4", "fp4")]
BYTES = ["whole_w8a8_cuda", "whole_fp8a8_cuda", "whole_w4a8_cuda"]  # activations of 8 bits

TIME = "gpu__time_duration.sum"
MEMORY = "dram__bytes.sum.pct_of_peak_sustained_elapsed"
ISSUE = "smsp__issue_active.avg.pct_of_peak_sustained_active"
EXECUTED = "smsp__inst_executed.sum"
WARPS = "smsp__warps_active.avg.per_cycle_active"
READY = "smsp__warps_eligible.avg.per_cycle_active"
STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"  # warps that wait, of each cycle that issues
REASONS = ["barrier", "dispatch_stall", "gmma", "imc_miss", "long_scoreboard", "math_pipe_throttle", "mio_throttle",
           "no_instruction", "not_selected", "short_scoreboard", "wait"]
FEW = [TIME, MEMORY, ISSUE, EXECUTED]
ALL = FEW + [WARPS, READY] + [STALL.format(r) for r in REASONS]

POISON = "fill_all"  # what bench launches before a product
DECODES = "unpack"
MARK = "<!-- profiles -->"


def runs():
    """(what it is called, shapes, kernels, group, options of bench layers, metrics)"""
    for shape in IN_FULL:
        yield f"weights, {shape}", [shape], WEIGHTS, 128, [], ALL
    for shape in OTHERS:
        yield f"weights, {shape}", [shape], WEIGHTS, 128, [], FEW
    for shape in IN_FULL:
        yield f"bytes, {shape}", [shape], BYTES, -1, ["--narrow"], ALL
    yield "bytes, other shapes", OTHERS, BYTES, -1, ["--narrow"], FEW
    yield "bytes in groups of 128", IN_FULL, BYTES[2:], 128, ["--narrow"], ALL


def number(launch, metric):
    text = launch[metric].replace(",", "")
    return float(text) if text else 0.0


class Product:
    """A row of bench and what ncu says of its launches."""

    def __init__(self, row, launches):
        self.kernel, self.m = row["kernel"].removesuffix("_cuda"), row["m"]
        self.shape, self.group = f"{row['out']}x{row['in']}", row["group"]
        self.launches = len(launches)
        self.us = sum(number(x, TIME) for x in launches) / 1e3
        self.decoding = sum(number(x, TIME) for x in launches if DECODES in x["Kernel Name"]) / 1e3 / self.us
        self.executed = 32 * sum(number(x, EXECUTED) for x in launches) / (row["out"] * row["in"])
        longest = max(launches, key=lambda x: number(x, TIME))
        self.memory, self.issue = number(longest, MEMORY), number(longest, ISSUE)
        if WARPS in longest:
            self.warps, self.ready = number(longest, WARPS), number(longest, READY)
            waits = [(number(longest, STALL.format(r)), r.replace("_", " ")) for r in REASONS]
            self.wait = "{1} {0:.1f}".format(*max(waits))

    def family(self):
        return self.kernel.split("_", 1)

    def where(self):
        return self.shape, self.kernel, self.group, self.m


def profile(program, run, log, seconds):
    """Products of one run; None: it took more than that."""
    name, shapes, kernels, group, more, metrics = run
    ncu = ["ncu", "--profile-from-start", "off", "--clock-control", "none", "--csv", "--page", "raw", "--print-units",
           "base", "--log-file", log, "--metrics", ",".join(metrics)]
    bench = [program, "bench", "layers", "--device", "cuda", "--check", "--json", "--shape", ",".join(shapes), "--rows",
             ",".join(map(str, ROWS)), "--group", str(group), "--filter", ",".join(kernels)] + more
    done = subprocess.Popen(ncu + bench, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        said, _ = done.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(done.pid, signal.SIGKILL)  # what ncu has started too
        done.wait()
        return None
    if done.returncode:
        sys.exit(f"{name}: exit {done.returncode} of: {' '.join(ncu + bench)}; see {log}")
    lines = [x for x in open(log, encoding="utf-8", errors="replace") if x.startswith('"')]
    calls = []
    for launch in csv.DictReader(lines):
        if not launch["ID"]:  # the line below the names has their units
            continue
        if POISON in launch["Kernel Name"]:
            calls.append([])
        else:
            calls[-1].append(launch)
    judged = json.loads(said[said.index("["):])
    if len(calls) != len(judged):
        sys.exit(f"{name}: {len(judged)} products, but {len(calls)} poisoned outputs in {log}")
    return [Product(row, launches) for row, launches in zip(judged, calls)]


def table(names, right, rows):
    line = ["| " + " | ".join(names) + " |", "|" + "".join("--:|" if r else ":--|" for r in right)]
    return "\n".join(line + ["| " + " | ".join(r) + " |" for r in rows])


def in_full(products):
    names = ["kernel", "shape", "rows", "group", "us", "memory", "issue", "executed", "warps a scheduler", "ready",
             "wait for", "launches", "decoding"]
    rows = [[" ".join(p.family()), p.shape, str(p.m), str(p.group or "-"), f"{p.us:.1f}", f"{p.memory:.0f} %",
             f"{p.issue:.0f} %", f"{p.executed:.2f}", f"{p.warps:.1f}", f"{p.ready:.1f}", p.wait, str(p.launches),
             f"{100 * p.decoding:.0f} %" if p.decoding else "-"] for p in products]
    return table(names, [n not in ("kernel", "wait for") for n in names], rows)


def others(products):
    """A line for each shape and format: us, memory, issue, executed for each number of rows."""
    cells = {}
    for p in products:
        family, what = p.family()
        line = cells.setdefault((p.shape, what, p.group), {})
        line[p.m] = f"{family[0]} {p.us:.1f} / {p.memory:.0f} / {p.issue:.0f} / {p.executed:.2f}"
    rows = [[shape, what] + [line.get(m, "-") for m in ROWS] for (shape, what, _), line in cells.items()]
    return table(["shape", "weight"] + [f"{m} row" + "s" * (m > 1) for m in ROWS], [False, False] + [True] * len(ROWS),
                 rows)


def facts(program):
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    device = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                            capture_output=True, text=True, check=False).stdout.split("\n")[0]
    return (f"Made by `tests/tools/gpu_profile.py` on {time.strftime('%Y-%m-%d', time.gmtime())}: {version}; {device}; "
            "`ncu --clock-control none`, caches emptied before each pass.")


def write(path, head, made, products, late):
    by_shape = sorted(products.values(), key=lambda p: (IN_FULL + OTHERS).index(p.shape))  # else in order of measuring
    text = [MARK, made, "", in_full([p for p in by_shape if p.shape in IN_FULL]), "",
            others([p for p in by_shape if p.shape in OTHERS])]
    if late:
        text += ["", f"No time was left for: {'; '.join(late)}."]
    with open(path, "w", encoding="utf-8") as f:
        f.write(head + "\n".join(text) + "\n")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("program")
    args.add_argument("page")
    args.add_argument("--seconds", type=float, default=200)
    args.add_argument("--keep")
    a = args.parse_args()
    end, products = time.time() + a.seconds, {}
    head = open(a.page, encoding="utf-8").read().partition(MARK)[0] if os.path.exists(a.page) else ""
    made, late = facts(a.program), [run[0] for run in runs()]
    with tempfile.TemporaryDirectory() as scratch:
        where = a.keep or scratch
        os.makedirs(where, exist_ok=True)
        for run in runs():
            begun = time.time()
            log = os.path.join(where, re.sub(r"\W+", "-", run[0]) + ".csv")
            got = profile(a.program, run, log, end - begun) if end - begun > 1 else None
            if got is None:
                continue
            late.remove(run[0])
            for p in got:
                products.setdefault(p.where(), p)  # the product of cuBLAS is beside every run
            write(a.page, head, made, products, late)
            print(f"{run[0]}: {len(got)} products, {time.time() - begun:.1f} s", file=sys.stderr, flush=True)


main()
