"""How decoding, prompts and single products gain from more threads of one CPU.

    python cpu_scaling.py BITLADDER [--model LIST] [--threads 1,2,4,8,16] [--rounds 3] [--passes 2]
                          [--methods LIST] [--shapes LIST] [--kernels LIST] [--rows 1,128] [--beside 16] [--crowd 8:2]
                          [--out FILE.md]

Runs `bitladder bench` once for each number of threads and prints, for everything that is timed, the rate and its
efficiency: rate / (threads x rate of one thread). Whole programs: greedy text and a prompt of 512 tokens of each
method. Products: the kernels named (none: --kernels ''), from memory (nothing of them in a cache), activations of 8
bits with a scale for 32 inputs, as models with +a8 have. A model may be synth:..., which needs no file. What is in FILE
from its first "## " on stays.

What the machine gives comes first, by as many threads: the rate at which they read memory, and what they multiply in
registers, as floats and as numbers of 8 bits. Two columns are in shares of it, at the most threads. "memory": of
decoding the bytes of all weights times tokens a second, of products of one row what they read, as a part of that rate.
"registers": of prompts and of products of many rows the efficiency over that of multiplying in registers, which do not
read anything: what is missing there is the processor's clock, or others that use it.

With --beside 16 programs of one thread are also run while a loop of nothing keeps each of 15 other processors busy:
what one thread does then is what each of sixteen can have of the clock and of cores that processors share. The rates of
the most threads are compared with both.

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


def run(command, processors=None):
    return ended(started(command, processors))


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


def weight_bytes(o, models, made):
    """What a token reads: all weights, once."""
    out, numbers = {}, {}
    for (model, method), (where, _) in made.items():
        if method == "fp32":
            if model not in numbers:
                numbers[model] = json.loads(run([o.bitladder, "inspect", model, "--json"]))["weights"]
            out[model, method] = 4 * numbers[model]
        else:
            out[model, method] = sum(os.path.getsize(os.path.join(where, f)) for f in os.listdir(where)
                                     if f.endswith(".safetensors"))
    return out


# Of a row: the rate, the share of memory, and which of the two peaks of registers bounds it.
def programs(o, made, size, model, threads, memory, processors=None):
    out = {}
    for method in o.methods.split(","):
        where, what = made[model, method]
        for r in json.loads(run([o.bitladder, "bench", "scoring", "--alone", "--model", where, "--method", what,
                                 "--filter", "greedy*,prompt*", "--repetitions", str(o.rounds), "--threads",
                                 str(threads), "--json", "--quiet"], processors)):
            rate = r["tokens"] / r["seconds_min"]
            if r["what"].startswith("greedy"):
                part = 1e-9 * rate * size[model, method] / memory if memory else None
                out["%s, decoding" % method, "tokens/s"] = rate, part, None
            else:
                out["%s, prompt" % method, "tokens/s"] = rate, None, "8 bits" if "a8" in method else "fp32"
    return out


def kernels(o, threads, shapes, rows, names):
    return json.loads(run([o.bitladder, "bench", "kernels", "--shape", shapes, "--rows", rows, "--filter", names,
                           "--act-group", "32", "--repetitions", str(o.rounds), "--threads", str(threads), "--json",
                           "--quiet"]))


def is_integer(row):
    return "a8_" in row["kernel"]


def limits(o, threads):
    """Reading of memory, GB/s (0: not known), and operations in registers."""
    rows = [r for r in kernels(o, threads, "1024x1024", "1", "lanes_int4_avx2,lanes_w4a8_avx2")
            if r["kernel"] != "openblas"]
    out = {("reading of memory", "GB/s"): (1e-9 * r["bytes"] / r["cold_seconds"] / r["memory_share"], None, None)
           for r in rows[:1] if r["memory_share"]}
    for r in rows:
        name = "multiplying in registers, " + ("8 bits" if is_integer(r) else "fp32")
        out[name, "GFLOP/s"] = 1e-9 * r["flop_per_second"] / r["peak_share"], None, None
    return out


def products(o, threads):
    return {("`%s` %dx%d, M = %d" % (r["kernel"], r["out"], r["in"], r["m"]), "GFLOP/s"):
            (2e-9 * r["m"] * r["out"] * r["in"] / r["cold_seconds_min"], r["memory_share"] if r["m"] == 1 else None,
             None if r["m"] == 1 else "8 bits" if is_integer(r) else "fp32")
            for r in kernels(o, threads, o.shapes, o.rows, o.kernels) if r["kernel"] != "openblas"}


def beside(o, made, size, model):
    """Programs of one thread, on the first processor, while the others of so many are busy."""
    processors = sorted(os.sched_getaffinity(0))[:o.beside]
    busy = [started([sys.executable, "-c", "while True: pass"], {p}) for p in processors[1:]]
    try:
        return programs(o, made, size, model, 1, 0, {processors[0]})
    finally:
        for p in busy:
            p.kill()
            p.wait()


def beside_text(counts, found, one):
    n = counts[-1]
    out = ["| | 1 | 1 beside %d busy | %d | of %d x the first | of %d x the second |" % (one[0] - 1, n, n, n),
           "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for key, (rate, _, _) in one[1].items():
        first, most = found[counts[0]][key][0], found[n][key][0]
        out.append("| %s | %.1f | %.1f | %.1f | %.0f%% | %.0f%% |" % (key[0], first, rate, most, 100 * most / n / first,
                                                                  100 * most / n / rate))
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


def better(found, n, now):
    """Neighbours can only make something slower."""
    old = found.setdefault(n, {})
    for key in now:
        old[key] = max(old.get(key, now[key]), now[key], key=lambda x: x[0])


def efficiency(counts, found, key, n):
    return found[n][key][0] / (n / counts[0] * found[counts[0]][key][0])


def table(counts, found, given=None):
    """given: what the machine gives, in the same form; None: that is what is printed."""
    most = counts[-1]
    out = ["| | " + " | ".join("%d" % n for n in counts) + " | unit | " +
           " | ".join("eff. %d" % n for n in counts[1:]) + (" | memory | registers |" if given else " |"),
           "| --- |" + " ---: |" * len(counts) + " --- |" + " ---: |" * (len(counts) - 1 + (2 if given else 0))]
    for key in found[counts[0]]:
        cells = ["%.1f" % found[n][key][0] for n in counts] + [key[1]]
        cells += ["%.0f%%" % (100 * efficiency(counts, found, key, n)) for n in counts[1:]]
        if given:
            _, part, peak = found[most][key]
            cells.append(told(part))
            peak = ("multiplying in registers, %s" % peak, "GFLOP/s")
            cells.append(told(efficiency(counts, found, key, most) / efficiency(counts, given, peak, most))
                         if peak in given[most] else "-")
        out.append("| %s | %s |" % (key[0], " | ".join(cells)))
    return out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("bitladder")
    a.add_argument("--model", default="synth:smollm2-135m,synth:llama3.2-1b")
    a.add_argument("--threads", default="1,2,4,8,16")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--passes", type=int, default=2, help="times that all of it is done; the better of them counts")
    a.add_argument("--methods", default="fp32,rtn:w4g32+symmetric,rtn:w4a8g32+act-group=32+symmetric")
    a.add_argument("--shapes", default="4096x14336")
    a.add_argument("--kernels", default="lanes_w4a8_*,lanes_int4_*,gemm_w4a8_*,gemm_fp32_*,gemm_int4_*")
    a.add_argument("--rows", default="1,128")
    a.add_argument("--beside", type=int, default=0, help="processors of which all but one are busy; 0: none")
    a.add_argument("--crowd", default="8:2", help="threads:processors")
    a.add_argument("--out")
    o = a.parse_args()
    counts = [int(n) for n in o.threads.split(",") if int(n) <= os.cpu_count()]
    models = o.model.split(",")
    whole, single, crowd, one = {m: {} for m in models}, {}, [], {m: {} for m in models}
    given = {}
    with tempfile.TemporaryDirectory() as folder:
        made = variants(o, models, counts[-1], folder)
        size = weight_bytes(o, models, made)
        for n in counts * o.passes:
            better(given, n, limits(o, n))
            better(single, n, products(o, n) if o.kernels else {})
            for m in models:
                memory = given[n].get(("reading of memory", "GB/s"), (0,))[0]
                better(whole[m], n, programs(o, made, size, m, n, memory))
                if o.beside and n == counts[0]:
                    better(one[m], o.beside, beside(o, made, size, m))
            print(n, "threads:", given[n], {m: whole[m][n] for m in models}, single[n], file=sys.stderr)
        if o.crowd:
            method = o.methods.split(",")[-1]
            crowd = ["%s, %s. %s" % (models[0], method, crowd_text(*crowded(o, made[models[0], method])))]
    cpu = record.cpuinfo("model name")
    text = "\n".join(
        ["# Threads of a CPU", "",
         "Made by `tests/tools/cpu_scaling.py` on %s; %s, %d cores; %s." % (
             datetime.date.today(), cpu, os.cpu_count(), run([o.bitladder, "--version"]).splitlines()[0]),
         "The fastest of %d passes of %d rounds. Efficiency is the rate over threads times the rate of one. At %d threads: memory"
         % (o.passes, o.rounds, counts[-1]),
         "is the part of the rate at which they read it, registers the efficiency over that of multiplying in registers.", "",
         "What the machine gives:", ""] + table(counts, given) + [""] +
        sum((["Whole programs, %s:" % m, ""] + table(counts, whole[m], given) + [""] +
             (["One thread beside others that compute, tokens/s:", ""] +
              beside_text(counts, whole[m], (o.beside, one[m][o.beside])) + [""] if o.beside else [])
             for m in models), []) +
        (["Products from memory:", ""] + table(counts, single, given) + [""] if o.kernels else []) + crowd)
    text = text.rstrip("\n") + "\n"
    if o.out:
        record.write(o.out, text)
    print(text, end="")


if __name__ == "__main__":
    main()
