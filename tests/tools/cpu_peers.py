"""Decoding, prompts and memory on this CPU beside llama.cpp, and one product of one row beside OpenBLAS.

    python cpu_peers.py BITLADDER SMOL.gguf [--other QWEN.gguf] [--rounds 5] [--threads 2] [--out FILE.md]
                        [--keep DIR] [--wrap COMMAND]

llama.cpp is llama-cpp-python 0.3.36, which is installed into a temporary environment where the Python that runs this
has none. SMOL is written anew for it by llama.cpp itself (Q4_0, Q2_K, F32); ours is the same file and `rtn` with
groups of 32, or its numbers as fp32. OTHER is run as it is stored by both; llama.cpp rounds activations to 8 bits then,
ours does so by `a8` and computes with fp32 without it. Both sides take turns, models are loaded and
both have run before the clock starts, and the fastest of the rounds counts: neighbours can only make a round slower.
Decoding is a greedy text of 64 tokens after 8; a prompt has 512 tokens, of which both compute the last logits, in the
row of fp32 llama.cpp the last and ours all of them.

Memory is the most that was resident while decoding: ours of the whole program, llama.cpp's less what its Python had
before the model was opened.

What is in FILE from its first "## " on, notes about the numbers, stays.

Files are made in DIR and used again where they are there. COMMAND runs each measurement and may wait for a quiet
machine: /usr/bin/chrt, a lock, a queue.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import venv

import record

PINNED = "llama-cpp-python==0.3.36"
# name, the type of llama.cpp's file (None: as stored), our method, asked of decoding and of the prompt
ROWS = [
    ("SmolLM2-135M, 4 bits, 8-bit activations", "Q4_0", "rtn:w4a8g32+act-group=32+symmetric", 1.25, 1.2),
    ("SmolLM2-135M, 4 bits, fp32 activations", "Q4_0", "rtn:w4g32+symmetric", 0.8, None),
    ("SmolLM2-135M, 2 bits, 8-bit activations", "Q2_K", "rtn:w2a8g32+act-group=32", 1.4, None),
    ("SmolLM2-135M, fp32", "F32", "fp32", 1.0, 1.1),
]
OTHER = [
    ("Qwen2.5-Coder-0.5B, Q4_K_M as stored, 8-bit activations", None, "a8+head", 1.0, 1.1),
    ("Qwen2.5-Coder-0.5B, Q4_K_M as stored, fp32 activations", None, "base", 1.0, 1.1),
]
# weights, activations, kernels, asked
PRODUCTS = [("int4", "8 bits", "lanes_w4a8_*", 5), ("int4", "fp32", "lanes_int4_*", 4),
            ("int2", "8 bits", "lanes_w2a8_*", 8), ("int1", "8 bits", "lanes_w1a8_*", 9)]

QUANTIZE = """
import ctypes, sys, llama_cpp as l
p = l.llama_model_quantize_default_params()
p.ftype, p.nthread, p.allow_requantize = getattr(l, "LLAMA_FTYPE_" + sys.argv[3]), int(sys.argv[4]), True
sys.exit(l.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(p)))
"""

# Stays alive with its model; a line of input is a round.
TIME = """
import ctypes, json, sys, time
import numpy
import llama_cpp as l

def resident():
    return int([x for x in open("/proc/self/status") if x.startswith("VmRSS")][0].split()[1]) / 1e3

path, threads, decode, prompt = sys.argv[1], *map(int, sys.argv[2:5])
before = resident()
quiet = l.llama_log_callback(lambda *a: None)
l.llama_log_set(quiet, ctypes.c_void_p(0))
l.llama_backend_init()
model = l.llama_model_load_from_file(path.encode(), l.llama_model_default_params())
p = l.llama_context_default_params()
p.n_ctx, p.n_batch, p.n_ubatch = 1024, prompt, prompt
p.n_threads = p.n_threads_batch = threads
p.no_perf = True
ctx = l.llama_init_from_model(model, p)
memory = l.llama_get_memory(ctx)
vocab = l.llama_vocab_n_tokens(l.llama_model_get_vocab(model))
ids = [(7 * i) % 4000 + 100 for i in range(prompt)]

def step(tokens):
    a = (l.llama_token * len(tokens))(*tokens)
    if l.llama_decode(ctx, l.llama_batch_get_one(a, len(tokens))):
        sys.exit("llama_decode failed")
    return int(numpy.ctypeslib.as_array(l.llama_get_logits_ith(ctx, -1), (vocab,)).argmax())

for line in sys.stdin:
    out = {}
    l.llama_memory_clear(memory, True)
    token = step(ids[:8])
    t = time.perf_counter()
    for i in range(decode):
        token = step([token])
    out["decode"] = decode / (time.perf_counter() - t)
    out["memory"] = resident() - before
    l.llama_memory_clear(memory, True)
    t = time.perf_counter()
    step(ids)
    out["prompt"] = prompt / (time.perf_counter() - t)
    print(json.dumps(out), flush=True)
"""


def blas_core():
    """The code that OpenBLAS should run: it does not know every processor, and takes that of 2004 then."""
    flags = record.cpuinfo("flags").split()
    best = "SkylakeX" if "avx512f" in flags else "Haswell" if "avx2" in flags else None
    return os.environ.get("OPENBLAS_CORETYPE", best)


def environment():
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    if blas_core():
        kept["OPENBLAS_CORETYPE"] = blas_core()
    return kept


def run(command):
    r = subprocess.run(command, capture_output=True, text=True, env=environment())
    if r.returncode:
        sys.exit("%s\nended with %d: %s" % (" ".join(command), r.returncode, r.stderr[-2000:]))
    return r.stdout


def python_with_llama(folder):
    try:
        import llama_cpp
        if PINNED.endswith("==" + llama_cpp.__version__):
            return sys.executable
    except ImportError:
        pass
    venv.create(folder, with_pip=True)
    python = os.path.join(folder, "bin", "python")
    subprocess.run([python, "-m", "pip", "install", "-q", PINNED, "numpy"], check=True)
    return python


class Llama:
    def __init__(self, python, path, threads, decode):
        self.p = subprocess.Popen([python, "-c", TIME, path, str(threads), str(decode), "512"], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        self.round()

    def round(self):
        self.p.stdin.write("\n")
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line:
            sys.exit("llama.cpp ended with %s" % self.p.wait())
        return json.loads(line)

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def ours(c):
    what = "greedy*,%s of 512" % ("window" if c["run"] == "fp32" else "prompt")
    rows = json.loads(run([c["bitladder"], "bench", "scoring", "--alone", "--model", c["model"], "--method", c["run"],
                           "--decode", str(c["decode"]), "--filter", what, "--repetitions", "2", "--threads",
                           str(c["threads"]), "--json", "--quiet"]))
    return {"decode" if r["what"].startswith("greedy") else "prompt": r["tokens"] / r["seconds_min"] for r in rows}


def measure(c):
    """Rounds of both sides on one model, in turn."""
    if "kernels" in c:
        return json.loads(run(c["kernels"]))
    llama = Llama(c["python"], c["theirs"], c["threads"], c["decode"])
    theirs, mine = [], []
    for n in range(c["rounds"]):
        for side in ((theirs, mine) if n % 2 == 0 else (mine, theirs)):
            side.append(llama.round() if side is theirs else ours(c))
    llama.close()
    return [theirs, mine]


def measured(o, case):
    """`measure` in a process of its own, under --wrap."""
    return json.loads(run(o.wrap.split() + [sys.executable, os.path.abspath(__file__), "measure", json.dumps(case)]))


def memory(o, model):
    command = [o.bitladder, "generate", "--prompt", "Once", "--model", model, "--max-new", str(o.decode), "--threads",
               str(o.threads), "--device", "cpu", "--quiet"]
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())
    error = p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        sys.exit("%s\nended with %d: %s" % (" ".join(command), status, error.decode()[-2000:]))
    return usage.ru_maxrss / 1e3


def made(path, command):
    if not os.path.exists(path):
        run(command)
    return path


def cases(o, python, folder):
    out = []
    for name, kind, method, decode, prompt in ROWS + (OTHER if o.other else []):
        source = o.model if kind else o.other
        theirs = model = source
        if kind:
            theirs = os.path.join(folder, kind + ".gguf")
            made(theirs, [python, "-c", QUANTIZE, o.model, theirs, ("ALL_" if kind == "F32" else "MOSTLY_") + kind,
                          str(o.threads)])
        if method not in ("base", "fp32"):
            model = os.path.join(folder, method)
            made(model, [o.bitladder, "quantize", source, "--method", method, "-o", model, "--quiet", "--device",
                         "cpu"])
        out.append(dict(bitladder=o.bitladder, python=python, threads=o.threads, decode=o.decode, rounds=o.rounds,
                        name=name, kind=kind or "as stored", method=method, theirs=theirs, model=model,
                        run="fp32" if method == "fp32" else "base", asked=(decode, prompt)))
    return out


def against(ratio, asked):
    return "%.2f%s" % (ratio, "" if asked is None else " (%s)" % asked)


def report(o, done, used, kernels):
    cpu = record.cpuinfo("model name")
    version = run([o.bitladder, "--version"]).splitlines()[0]
    out = ["# Beside llama.cpp and OpenBLAS on a CPU", "",
           "Made by `tests/tools/cpu_peers.py` on %s; %s, %d threads; %s, %s." % (datetime.date.today(), cpu, o.threads,
                                                                              version, PINNED),
           "Both sides in turn on the same file, %d rounds, the fastest of each. In brackets: what was asked. A prompt"
           " has" % o.rounds, "512 tokens and ends with the last logits; of fp32 bitladder computes all 512.", "",
           "| model | llama.cpp | bitladder | decode, tokens/s | | ratio | prompt, tokens/s | | ratio |",
           "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for c, (theirs, mine) in done:
        cells = []
        for what, asked in zip(("decode", "prompt"), c["asked"]):
            t, m = max(r[what] for r in theirs), max(r[what] for r in mine)
            cells += ["%.1f" % t, "%.1f" % m, against(m / t, asked)]
        out.append("| %s | %s | `%s` | %s |" % (c["name"], c["kind"], c["method"], " | ".join(cells)))
    out += ["", "Memory while decoding the first row: llama.cpp %.0f MB, bitladder %.0f MB, %s." % (
        used[0], used[1], against(used[1] / used[0], "at most 1.0")), "",
        "One row of x by a weight of 4096x14336 from memory, groups of %d; OpenBLAS fp32, its code for %s, is 1:" % (
            o.group, blas_core()), "",
        "| weight | activations | kernel | us | GB/s | OpenBLAS |", "| --- | --- | --- | ---: | ---: | ---: |"]
    for weight, act, name, asked in PRODUCTS:
        for r in kernels:
            if r["kernel"].startswith(name[:-1]):
                out.append("| %s | %s | `%s` | %.0f | %.1f | %s |" % (
                    weight, act, r["kernel"], r["cold_seconds"] * 1e6, r["bytes"] / r["cold_seconds"] / 1e9,
                    against(r["cold_openblas_ratio"], asked)))
    blas = [r for r in kernels if r["kernel"] == "openblas"][0]
    out.append("| fp32 | fp32 | OpenBLAS | %.0f | %.1f | 1 |" % (blas["cold_seconds"] * 1e6,
                                                                  blas["bytes"] / blas["cold_seconds"] / 1e9))
    return "\n".join(out) + "\n"


def main():
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(json.loads(sys.argv[2]))))
        return
    a = argparse.ArgumentParser()
    a.add_argument("bitladder")
    a.add_argument("model")
    a.add_argument("--other")
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--decode", type=int, default=64)
    a.add_argument("--group", type=int, default=64)
    a.add_argument("--keep")
    a.add_argument("--wrap", default="")
    a.add_argument("--out")
    o = a.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        python = python_with_llama(os.path.join(tmp, "venv"))
        done = []
        for c in cases(o, python, o.keep or tmp):
            done.append((c, measured(o, c)))
            print(c["name"], done[-1][1], file=sys.stderr)
        used = [max(r["memory"] for r in done[0][1][0]), memory(o, done[0][0]["model"])]
        command = [o.bitladder, "bench", "kernels", "--shape", "4096x14336", "--rows", "1", "--group", str(o.group),
                   "--repetitions", "9", "--threads", str(o.threads), "--json", "--quiet", "--filter",
                   ",".join(p[2] for p in PRODUCTS)]
        text = report(o, done, used, measured(o, {"kernels": command}))
    if o.out:
        record.write(o.out, text)
    print(text, end="")


if __name__ == "__main__":
    main()
