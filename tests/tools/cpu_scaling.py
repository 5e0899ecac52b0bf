"""How decoding, prompts and single products gain from more threads of one CPU.

    python cpu_scaling.py BITLADDER [--model LIST] [--threads 1,2,4,8,16] [--rounds 3] [--methods LIST]
                          [--shapes LIST] [--kernels LIST] [--rows 1,128] [--out FILE.md]

Runs `bitladder bench` once for each number of threads and prints, for everything that is timed, the rate and its
efficiency: rate / (threads x rate of one thread). Whole programs: greedy text and a prompt of 512 tokens of each
method. Products: the kernels named (none: --kernels ''), from memory (nothing of them in a cache). A model may be
synth:..., which needs no file. The rate at which all threads together read memory is beside them, and for products of
one row their share of it, as they end where it does. What is in FILE from its first "## " on stays.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile

import record


def run(command):
    r = subprocess.run(command, capture_output=True, text=True)
    if r.returncode:
        sys.exit("%s\nended with %d: %s" % (" ".join(command), r.returncode, r.stderr[-2000:]))
    return r.stdout


def variants(o, models, threads, folder):
    """Each model with each method, made once by all threads: (model, method) -> what bench is given."""
    made = {}
    for model in models:
        for method in o.methods.split(","):
            made[model, method] = [model, method]
            if method != "fp32":
                made[model, method] = [os.path.join(folder, "%d" % len(made)), "base"]
                run([o.bitladder, "quantize", model, "--method", method, "--threads", str(threads), "--quiet",
                     "-o", made[model, method][0]])
    return made


def programs(o, made, model, threads):
    out = {}
    for method in o.methods.split(","):
        where, what = made[model, method]
        for r in json.loads(run([o.bitladder, "bench", "scoring", "--alone", "--model", where, "--method", what,
                                 "--filter", "greedy*,prompt*", "--repetitions", str(o.rounds), "--threads",
                                 str(threads), "--json", "--quiet"])):
            name = "decoding" if r["what"].startswith("greedy") else "prompt"
            out["%s, %s" % (method, name), "tokens/s"] = r["tokens"] / r["seconds_min"], None
    return out


def products(o, threads):
    rows = json.loads(run([o.bitladder, "bench", "kernels", "--shape", o.shapes, "--rows", o.rows, "--filter",
                           o.kernels, "--repetitions", str(o.rounds), "--threads", str(threads), "--json", "--quiet"]))
    out = {("reading of memory", "GB/s"): (1e-9 * r["bytes"] / r["cold_seconds"] / r["memory_share"], None)
           for r in rows[:1] if r["memory_share"]}
    out.update({("`%s` %dx%d, M = %d" % (r["kernel"], r["out"], r["in"], r["m"]), "GFLOP/s"):
                (2e-9 * r["m"] * r["out"] * r["in"] / r["cold_seconds_min"], r["memory_share"])
                for r in rows if r["kernel"] != "openblas"})
    return out


def told(part):
    return "%.0f%%" % (100 * part) if part else "-"  # none where caches hold more than there is memory for


def table(o, counts, found, share):
    out = ["| | " + " | ".join("%d" % n for n in counts) + " | unit | " +
           " | ".join("eff. %d" % n for n in counts[1:]) + (" | memory" if share else "") + " |",
           "| --- |" + " ---: |" * len(counts) + " --- |" + " ---: |" * (len(counts) - 1 + share)]
    for key in found[counts[0]]:
        rates = [found[n][key][0] for n in counts]
        base = rates[0] / counts[0]
        out.append("| %s | %s | %s | %s |" % (
            key[0], " | ".join("%.1f" % r for r in rates), key[1],
            " | ".join(["%.0f%%" % (100 * r / (n * base)) for n, r in list(zip(counts, rates))[1:]] +
                       ([told(found[counts[-1]][key][1])] if share else []))))
    return out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("bitladder")
    a.add_argument("--model", default="synth:smollm2-135m,synth:llama3.2-1b")
    a.add_argument("--threads", default="1,2,4,8,16")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--methods", default="fp32,rtn:w4g32+symmetric,rtn:w4a8g32+act-group=32+symmetric")
    a.add_argument("--shapes", default="4096x14336")
    a.add_argument("--kernels", default="lanes_w4a8_*,lanes_int4_*,gemm_w4a8_*,gemm_fp32_*,gemm_int4_*")
    a.add_argument("--rows", default="1,128")
    a.add_argument("--out")
    o = a.parse_args()
    counts = [int(n) for n in o.threads.split(",") if int(n) <= os.cpu_count()]
    models = o.model.split(",")
    whole, single = {m: {} for m in models}, {}
    with tempfile.TemporaryDirectory() as folder:
        made = variants(o, models, counts[-1], folder)
        for n in counts:
            single[n] = products(o, n) if o.kernels else {}
            for m in models:
                whole[m][n] = programs(o, made, m, n)
            print(n, "threads:", {m: whole[m][n] for m in models}, single[n], file=sys.stderr)
    cpu = record.cpuinfo("model name")
    text = "\n".join(
        ["# Threads of a CPU", "",
         "Made by `tests/tools/cpu_scaling.py` on %s; %s, %d cores; %s." % (
             datetime.date.today(), cpu, os.cpu_count(), run([o.bitladder, "--version"]).splitlines()[0]),
         "The fastest of %d rounds. Efficiency is the rate over threads times the rate of one." % o.rounds, ""] +
        sum((["Whole programs, %s:" % m, ""] + table(o, counts, whole[m], False) + [""] for m in models), []) +
        (["Products from memory; memory: share of the measured bandwidth at the most threads:", ""] +
         table(o, counts, single, True) if o.kernels else [])) + "\n"
    if o.out:
        record.write(o.out, text)
    print(text, end="")


if __name__ == "__main__":
    main()
