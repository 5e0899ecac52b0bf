#!/usr/bin/env python3
"""Where products of packed weights spend their time on a GPU, by Nsight Compute: tables in Markdown.

    gpu_profile.py PROGRAM [--shapes 28672x4096,4096x14336] [--seconds 150] [--keep DIR] > profile.md

Profiles what `bitladder bench kernels --check` launches, each kernel once with its weight in no cache (ncu empties the
caches before each pass and leaves the clocks alone): those of a few rows, of some, of many (where weights are decoded for
cuBLAS: its share is a column), and those with activations of 8 bits.  One call of ncu a row of RUNS; those that no time
is left for are named below the table.  --keep DIR leaves what ncu wrote there.
"""
import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time

INTEGERS = "int8,int4,int3,int2,int1,nf4".split(",")
RUNS = [  # kernels, rows, group, further options of bench kernels
    ("stream", [f"stream_{f}_cuda" for f in INTEGERS], "1,8", 128, []),
    ("mid", [f"mid_{f}_cuda" for f in INTEGERS], "16,64,256", 128, []),
    ("linear", [f"linear_{f}_cuda" for f in INTEGERS], "2048", 128, []),
    ("whole", ["whole_w8a8_cuda", "whole_fp8a8_cuda", "whole_w4a8_cuda"], "1,8,16,64,256,2048", -1, ["--narrow"]),
    ("whole, groups of 128", ["whole_w4a8_cuda"], "1,8,16,64,256,2048", 128, ["--narrow"]),
]
TIME = "gpu__time_duration.sum"
MEMORY = "dram__throughput.avg.pct_of_peak_sustained_elapsed"
ISSUE = "smsp__issue_active.avg.pct_of_peak_sustained_active"
WARPS = "smsp__warps_active.avg.per_cycle_active"
READY = "smsp__warps_eligible.avg.per_cycle_active"
STALL = re.compile(r"issue_stalled_(\w+?)_per_issue_active")  # warps that wait for it, of each cycle that issues
POISON = "fill_all"  # what bench launches before a kernel
DECODES = "unpack"


def profile(program, run, shapes, where, seconds):
    """[(row of bench, [launch of ncu])] of one run; None: no time was left."""
    name, kernels, rows, group, more = run
    log = os.path.join(where, re.sub(r"\W+", "-", name) + ".csv")
    ncu = ["ncu", "--profile-from-start", "off", "--clock-control", "none", "--csv", "--page", "raw",
           "--print-units", "base", "--log-file", log, "--section", "WarpStateStats",
           "--metrics", ",".join([TIME, MEMORY, ISSUE, WARPS, READY])]
    bench = [program, "bench", "kernels", "--device", "cuda", "--check", "--json", "--shape", shapes, "--rows", rows,
             "--group", str(group), "--filter", ",".join(kernels)] + more
    try:
        done = subprocess.run(ncu + bench, stdout=subprocess.PIPE, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        sys.exit(f"{name}: exit {done.returncode} of: {' '.join(bench)}")
    lines = [x for x in open(log, encoding="utf-8", errors="replace") if x.startswith('"')]
    launches = [x for x in csv.DictReader(lines) if x["ID"]]  # the line below the names has their units
    calls = []
    for launch in launches:
        if POISON in launch["Kernel Name"]:
            calls.append([])
        else:
            calls[-1].append(launch)
    judged = json.loads(done.stdout[done.stdout.index("["):])
    if len(calls) != len(judged):
        sys.exit(f"{name}: {len(judged)} products, but {len(calls)} poisoned outputs in {log}")
    return list(zip(judged, calls))


def number(launch, metric):
    text = launch.get(metric, "").replace(",", "")
    return float(text) if text else 0.0


def stall(launch):
    """What most warps wait for, and how many."""
    found = [(number(launch, k), m.group(1).replace("_", " ")) for k in launch for m in [STALL.search(k)]
             if m and not m.group(1).endswith("not_issued") and m.group(1) != "selected"]
    return "{1} {0:.1f}".format(*max(found)) if found else "-"


def line(row, launches):
    total = sum(number(x, TIME) for x in launches)
    main = max(launches, key=lambda x: number(x, TIME))
    decoding = sum(number(x, TIME) for x in launches if DECODES in x["Kernel Name"])
    kernel = row["kernel"].removesuffix("_cuda").replace("_", " ", 1)
    return [kernel, f"{row['out']}x{row['in']}", str(row["m"]), str(row["group"]) if row["group"] else "-",
            f"{total / 1e3:.1f}", f"{number(main, MEMORY):.0f} %", f"{number(main, ISSUE):.0f} %",
            f"{number(main, WARPS):.1f}", f"{number(main, READY):.1f}", stall(main), str(len(launches)),
            f"{100 * decoding / total:.0f} %" if decoding else "-"]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("program")
    args.add_argument("--shapes", default="28672x4096,4096x14336")
    args.add_argument("--seconds", type=float, default=150)
    args.add_argument("--keep")
    a = args.parse_args()
    end, seen, late = time.time() + a.seconds, set(), []
    with tempfile.TemporaryDirectory() as scratch:
        where = a.keep or scratch
        os.makedirs(where, exist_ok=True)
        print("| kernel | shape | rows | group | us | memory | issue | warps a scheduler | ready | wait for | launches | "
              "decoding |")
        print("|:--|--:|--:|--:|--:|--:|--:|--:|--:|:--|--:|--:|")
        for run in RUNS:
            left = end - time.time()
            got = profile(a.program, run, a.shapes, where, left) if left > 1 else None
            if got is None:
                late.append(run[0])
            for row, launches in got or []:
                cells = line(row, launches)
                if tuple(cells[:4]) not in seen:  # the product of cuBLAS is beside every run
                    print("| " + " | ".join(cells) + " |", flush=True)
                seen.add(tuple(cells[:4]))
    version = subprocess.run([a.program, "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    device = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                            capture_output=True, text=True, check=False).stdout.split("\n")[0]
    print(f"\n{version}; {device}; {time.strftime('%Y-%m-%d', time.gmtime())}; ncu --clock-control none, caches emptied. "
          "memory: of its bandwidth; issue: cycles in which a scheduler issues; ready: warps that could; wait for: what "
          "most of the others wait for, warps of each cycle that issues; of the longest launch. us: of all launches of "
          "the product; decoding: weights into bf16, of that time.")
    if late:
        print(f"\nNo time was left for: {', '.join(late)}.")


main()
