"""How decoding, prompts and single products gain from more threads of one CPU.

    python cpu_scaling.py BITLADDER [--model LIST] [--threads 1,2,4,8,16] [--rounds 3] [--methods LIST]
                          [--shapes LIST] [--kernels LIST] [--rows 1,128] [--crowd 8:2] [--out FILE.md]

Runs `bitladder bench` once for each number of threads and prints, for everything that is timed, the rate and its
efficiency: rate / (threads x rate of one thread). Whole programs: greedy text and a prompt of 512 tokens of each
method. Products: the kernels named (none: --kernels ''), from memory (nothing of them in a cache). A model may be
synth:..., which needs no file. The rate at which all threads together read memory is beside them, and for products of
one row their share of it, as they end where it does. What is in FILE from its first "## " on stays.

Last comes what happens where there are more threads than processors: --crowd 8:2 is decoding by 8 threads that may use
two processors, beside as many threads as processors, and two such programs at once on them (none: --crowd '').
"""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile

import record


def started(command, processors=None):
    limit = (lambda: os.sched_setaffinity(0, processors)) if processors else None
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit)


def ended(p):
    out, error = p.communicate()
    if p.returncode:
        sys.exit("%s\nended with %d: %s" % (" ".join(p.args), p.returncode, error[-2000:]))
    return out


def run(command):
    return ended(started(command))


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


def crowded(o, given, rounds=2):
    """Tokens a second of decoding: as many threads as processors, more of them, two programs at once; in turn."""
    threads, n = (int(x) for x in o.crowd.split(":"))
    processors = sorted(os.sched_getaffinity(0))[:n]
    if len(processors) < n:
        sys.exit("--crowd %s: this process may use %d processors" % (o.crowd, len(processors)))
    found = {}
    for _ in range(rounds):
        for name, each, programs_at_once in (("alone", n, 1), ("crowd", threads, 1), ("two", n, 2)):
            at_once = [started([o.bitladder, "bench", "decode", "--alone", "--model", given[0], "--method", given[1],
                                "--repetitions", str(2 * o.rounds), "--threads", str(each), "--json", "--quiet"],
                               processors) for _ in range(programs_at_once)]
            rows = [json.loads(ended(p))[0] for p in at_once]
            rate = sum(r["tokens"] / r["seconds"] for r in rows)  # the median: who comes last has the processors alone
            found[name] = max(found.get(name, 0), rate)
    return threads, n, found


def crowd_text(threads, n, found):
    alone = found["alone"]
    return ("Decoding on %d processors: %d threads %.1f tokens/s, %d threads %.1f (%.0f%%), two programs of %d threads"
            " at once %.1f together (%.0f%%)." % (n, n, alone, threads, found["crowd"], 100 * found["crowd"] / alone, n,
                                                  found["two"], 100 * found["two"] / alone))


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
    a.add_argument("--crowd", default="8:2", help="threads:processors")
    a.add_argument("--out")
    o = a.parse_args()
    counts = [int(n) for n in o.threads.split(",") if int(n) <= os.cpu_count()]
    models = o.model.split(",")
    whole, single, crowd = {m: {} for m in models}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        made = variants(o, models, counts[-1], folder)
        for n in counts:
            single[n] = products(o, n) if o.kernels else {}
            for m in models:
                whole[m][n] = programs(o, made, m, n)
            print(n, "threads:", {m: whole[m][n] for m in models}, single[n], file=sys.stderr)
        if o.crowd:
            method = o.methods.split(",")[-1]
            crowd = [""] if o.kernels else []
            crowd += ["%s, %s. %s" % (models[0], method, crowd_text(*crowded(o, made[models[0], method])))]
    cpu = record.cpuinfo("model name")
    text = "\n".join(
        ["# Threads of a CPU", "",
         "Made by `tests/tools/cpu_scaling.py` on %s; %s, %d cores; %s." % (
             datetime.date.today(), cpu, os.cpu_count(), run([o.bitladder, "--version"]).splitlines()[0]),
         "The fastest of %d rounds. Efficiency is the rate over threads times the rate of one." % o.rounds, ""] +
        sum((["Whole programs, %s:" % m, ""] + table(o, counts, whole[m], False) + [""] for m in models), []) +
        (["Products from memory; memory: share of the measured bandwidth at the most threads:", ""] +
         table(o, counts, single, True) if o.kernels else []) + crowd) + "\n"
    if o.out:
        record.write(o.out, text)
    print(text, end="")


if __name__ == "__main__":
    main()
