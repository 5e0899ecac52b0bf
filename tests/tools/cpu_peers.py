"""Decoding, prompts and memory on this CPU beside llama.cpp, and products of one row and of 512 beside OpenBLAS.

    python cpu_peers.py BITLADDER SMOL.gguf [--other QWEN.gguf|synth:SHAPE] [--rounds 5] [--threads 2] [--out FILE.md]
                        [--keep DIR] [--wrap COMMAND] [--instructions avx2]
    python cpu_peers.py BITLADDER [--threads 2] [--wrap COMMAND] [--instructions avx2]     the products alone
    python cpu_peers.py BITLADDER --instructions avx2 --count                              and their instructions

llama.cpp is llama-cpp-python 0.3.36, which is built here for this processor in a temporary environment where the Python
that runs this has none (LLAMA_CPP_LIB_PATH: a folder with other libraries of it). With --instructions avx2 neither side
uses more than AVX2, FMA and F16C: llama.cpp is built with GGML_NATIVE=OFF, OpenBLAS runs its code for Haswell. SMOL is
written anew for it by llama.cpp itself (Q4_0, Q2_K, F32); ours is the same file and `rtn` with
groups of 32, or its numbers as fp32. OTHER is run as it is stored by both; llama.cpp rounds activations to 8 bits then,
ours does so by `a8` and computes with fp32 without it. OTHER of synth:SHAPE has made-up weights, which llama.cpp makes
Q4_K_M. Both sides take turns, models are loaded and
both have run before the clock starts, and the fastest of the rounds counts: neighbours can only make a round slower.
Decoding is a greedy text of 64 tokens after 8; a prompt has 512 tokens, of which both compute the last logits, in the
row of fp32 llama.cpp the last and ours all of them.

Memory is the most that was resident while decoding: ours of the whole program, llama.cpp's less what its Python had
before the model was opened.

What is in FILE from its first "## " on, notes about the numbers, stays.

GNU 12.2 loses llama.cpp's tile configuration where the processor has AMX (its library ends with an illegal
instruction): give it another compiler, or clang for ggml-cpu/amx/mmq.cpp. In the products activations of 8 bits have
one scale a token or, as in the models, one for 32 inputs; weights are symmetric. --count has valgrind count what the
product's tasks execute (of a weight of fewer outputs), for 32 products of a weight and an activation, and how much of
it a thread did in a nanosecond of the time.

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
    ("SmolLM2-135M, 2 bits, 8-bit activations", "Q2_K", "rtn:w2g32+a8", 1.4, None),
    ("SmolLM2-135M, fp32", "F32", "fp32", 1.0, 1.1),
]
OTHER = [("8-bit activations", None, "a8+head", 1.0, 1.1), ("fp32 activations", None, "base", 1.0, 1.1)]
# rows, weights, activations, kernels, asked
PRODUCTS = [(1, "int4", "8 bits", "lanes_w4a8_*", 5), (1, "int4", "fp32", "lanes_int4_*", 4),
            (1, "int2", "8 bits", "lanes_w2a8_*", 8), (1, "int2", "fp32", "lanes_int2_*", 4),
            (1, "int1", "8 bits", "lanes_w1a8_*", 9), (512, "int8", "8 bits", "gemm_w8a8_*", 1.3),
            (512, "int4", "8 bits", "gemm_w4a8_*", 1.3), (512, "int2", "8 bits", "gemm_w2a8_*", 1.3)]
# inputs that share a scale of activations of 8 bits; 0: all of a row
SCALES = [(0, ", one scale"), (32, ", one for 32")]

COUNTED = 64  # outputs of the weight whose products are counted

QUANTIZE = """
import ctypes, sys, llama_cpp as l
p = l.llama_model_quantize_default_params()
p.ftype, p.nthread, p.allow_requantize = getattr(l, "LLAMA_FTYPE_" + sys.argv[3]), int(sys.argv[4]), True
sys.exit(l.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(p)))
"""

# A model of made-up weights has no tokenizer.
NO_VOCABULARY = """
def no_vocabulary(l, p):
    given = (l.llama_model_kv_override * 2)()
    given[0].tag, given[0].key = l.LLAMA_KV_OVERRIDE_TYPE_STR, b"tokenizer.ggml.model"
    given[0].value.val_str = b"no_vocab"
    p.kv_overrides = given
    return p
"""

# Stays alive with its model; a line of input is a round.
TIME = NO_VOCABULARY + """
import ctypes, json, sys, time
import numpy
import llama_cpp as l

def resident():
    return int([x for x in open("/proc/self/status") if x.startswith("VmRSS")][0].split()[1]) / 1e3

path, threads, decode, prompt, bare = sys.argv[1], *map(int, sys.argv[2:6])
before = resident()
quiet = l.llama_log_callback(lambda *a: None)
l.llama_log_set(quiet, ctypes.c_void_p(0))
l.llama_backend_init()
model = l.llama_model_default_params()
model = l.llama_model_load_from_file(path.encode(), no_vocabulary(l, model) if bare else model)
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
    out = {"built": l.llama_print_system_info().decode()}
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


def built(info):
    """What llama.cpp says of itself, "CPU : SSE3 = 1 | AVX = 1 | ...", as a list of words."""
    return " ".join(w.split("=")[0].strip() for w in info.replace("CPU :", "").split("|") if "= 1" in w)


def environment():
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    if blas_core():
        kept["OPENBLAS_CORETYPE"] = blas_core()
    return kept


def run(command, **more):
    r = subprocess.run(command, capture_output=True, text=True, env=dict(environment(), **more))
    if r.returncode:
        sys.exit("%s\nended with %d: %s" % (" ".join(command), r.returncode, r.stderr[-2000:]))
    return r.stdout


def python_with_llama(o, folder):
    try:
        import llama_cpp
        if PINNED.endswith("==" + llama_cpp.__version__):
            return sys.executable
    except ImportError:
        pass
    venv.create(folder, with_pip=True)
    python = os.path.join(folder, "bin", "python")
    native = "OFF" if o.instructions else "ON"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-cache-dir", PINNED, "numpy"], check=True,
                   env=dict(os.environ, CMAKE_ARGS=os.environ.get("CMAKE_ARGS", "-DGGML_NATIVE=" + native)))
    return python


class Llama:
    def __init__(self, c):
        self.p = subprocess.Popen([c["python"], "-c", TIME, c["theirs"], str(c["threads"]), str(c["decode"]), "512",
                                   "%d" % c["bare"]], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  env=environment())
        info = self.round()["built"]
        if c["instructions"] and "AVX512" in info:
            sys.exit("llama.cpp is built for %s, not for %s alone" % (built(info), c["instructions"]))

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


def limited(instructions):
    return ["--instructions", instructions] if instructions else []


def ours(c):
    what = "greedy*,%s of 512" % ("window" if c["run"] == "fp32" else "prompt")
    rows = json.loads(run([c["bitladder"], "bench", "scoring", "--alone", "--model", c["model"], "--method", c["run"],
                           "--decode", str(c["decode"]), "--filter", what, "--repetitions", "2", "--threads",
                           str(c["threads"]), "--json", "--quiet"] + limited(c["instructions"])))
    return {"decode" if r["what"].startswith("greedy") else "prompt": r["tokens"] / r["seconds_min"] for r in rows}


def measure(c):
    """Rounds of both sides on one model, in turn."""
    if "kernels" in c:
        return json.loads(run(c["kernels"]))
    llama = Llama(c)
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


def quantized(o, python, source, path, kind):
    return made(path, [python, "-c", QUANTIZE, source, path, kind, str(o.threads)])


def other_rows(o, python, folder):
    """The rows of OTHER and its file."""
    if not o.other:
        return [], None
    name, path, rows = o.named, o.other, OTHER
    if path.startswith("synth:"):
        name = "the shape of %s" % path[len("synth:"):]
        dense = os.path.join(folder, "other.gguf")
        made(dense, [o.bitladder, "export", path, "--format", "gguf", "--quiet", "-o", dense])
        path = quantized(o, python, dense, os.path.join(folder, "Q4_K_M.gguf"), "MOSTLY_Q4_K_M")
        rows = [(a, b, c.replace("+head", ""), d, e) for a, b, c, d, e in OTHER]  # its head is its embedding
    return [("%s, Q4_K_M as stored, %s" % (name, r[0]),) + r[1:] for r in rows], path


def cases(o, python, folder):
    out = []
    others, other = other_rows(o, python, folder)
    for name, kind, method, decode, prompt in ROWS + others:
        source = o.model if kind else other
        theirs = model = source
        if kind:
            theirs = os.path.join(folder, kind + ".gguf")
            quantized(o, python, o.model, theirs, ("ALL_" if kind == "F32" else "MOSTLY_") + kind)
        if method not in ("base", "fp32"):
            model = os.path.join(folder, method)
            made(model, [o.bitladder, "quantize", source, "--method", method, "-o", model, "--quiet", "--device",
                         "cpu"])
        out.append(dict(bitladder=o.bitladder, python=python, threads=o.threads, decode=o.decode, rounds=o.rounds,
                        name=name, kind=kind or "as stored", method=method, theirs=theirs, model=model,
                        bare=not kind and o.other.startswith("synth:"), instructions=o.instructions,
                        run="fp32" if method == "fp32" else "base", asked=(decode, prompt)))
    return out


def against(ratio, asked):
    return "%.2f%s" % (ratio, "" if asked is None else " (%s)" % asked)


def models(o, done, used):
    """Lines of what is done with whole models."""
    out = ["Both sides in turn on the same file, %d rounds, the fastest of each. In brackets: what was asked. A prompt"
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
        used[0], used[1], against(used[1] / used[0], "at most 1.0")), ""]
    return out


def executed(o, rows, kernel, act_group, inputs):
    """Instructions for 32 products, all that the tasks of a product do: one thread's, as valgrind counts them."""
    with tempfile.TemporaryDirectory() as tmp:
        run(["valgrind", "--tool=callgrind", "--callgrind-out-file=" + os.path.join(tmp, "out"),
             "--toggle-collect=product_task", "--log-file=" + os.path.join(tmp, "log"), o.bitladder, "bench", "kernels",
             "--check", "--json", "--shape", "%dx%d" % (COUNTED, inputs), "--rows", str(rows), "--group", str(o.group),
             "--act-group", str(act_group), "--threads", "1", "--filter", kernel] + limited(o.instructions),
            OMP_WAIT_POLICY="passive")  # else it starts itself anew, which valgrind cannot
        for line in open(os.path.join(tmp, "log")):
            if "Collected" in line:
                return int(line.split(":")[1]) / (rows * COUNTED * inputs / 32)
    sys.exit("valgrind counted nothing of %s" % kernel)


def products(o):
    """Lines of products beside OpenBLAS, which is timed in the same call: one for each number of rows and scales."""
    out = ["Rows of x by a weight of 4096x14336 from memory, groups of %d; OpenBLAS fp32, its code for %s, is 1:" % (
        o.group, blas_core()), "",
        "| rows | weight | activations | kernel | us | GB/s | OpenBLAS |" + " instructions for 32 | a ns |" * o.count,
        "| ---: | --- | --- | --- | ---: | ---: | ---: |" + " ---: | ---: |" * o.count]
    for rows in sorted({p[0] for p in PRODUCTS}):
        mine = [p for p in PRODUCTS if p[0] == rows]
        command = [o.bitladder, "bench", "kernels", "--shape", "4096x14336", "--rows", str(rows), "--group",
                   str(o.group), "--repetitions", "9" if rows == 1 else "5", "--threads", str(o.threads), "--json",
                   "--quiet", "--filter", ",".join(p[3] for p in mine)] + limited(o.instructions)
        timed = [measured(o, {"kernels": command + ["--act-group", str(n)]}) for n, _ in SCALES]
        for _, weight, act, name, asked in mine:
            for call, scales in zip(timed, SCALES if act == "8 bits" else [(0, "")]):
                for r in call:
                    if r["kernel"].startswith(name[:-1]):
                        out.append("| %d | %s | %s%s | `%s` | %.0f | %.1f | %s |" % (
                            rows, weight, act, scales[1], r["kernel"], r["cold_seconds"] * 1e6,
                            r["bytes"] / r["cold_seconds"] / 1e9, against(r["cold_openblas_ratio"], asked)))
                        if o.count:
                            n = executed(o, rows, r["kernel"], scales[0], r["in"])
                            out[-1] += " %.1f | %.2f |" % (n, n * rows * r["out"] * r["in"] / 32 / o.threads /
                                                           r["cold_seconds"] / 1e9)
        blas = [r for r in timed[0] if r["kernel"] == "openblas"][0]
        out.append("| %d | fp32 | fp32 | OpenBLAS | %.0f | %.1f | 1 |" % (
            rows, blas["cold_seconds"] * 1e6, blas["bytes"] / blas["cold_seconds"] / 1e9) + " | |" * o.count)
    return out


def report(o, done, used):
    cpu = record.cpuinfo("model name")
    version = run([o.bitladder, "--version"]).splitlines()[0]
    built_with = ", %s, built with %s" % (PINNED, built(done[0][1][0][0]["built"])) if done else ""
    out = ["# Beside llama.cpp and OpenBLAS on a CPU", "",
           "Made by `tests/tools/cpu_peers.py` on %s; %s, %d threads%s; %s%s." % (
               datetime.date.today(), cpu, o.threads, ", neither side with more than AVX2" if o.instructions else "",
               version, built_with)]
    return "\n".join(out + (models(o, done, used) if done else [""]) + products(o)) + "\n"


def main():
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(json.loads(sys.argv[2]))))
        return
    a = argparse.ArgumentParser()
    a.add_argument("bitladder")
    a.add_argument("model", nargs="?")
    a.add_argument("--other")
    a.add_argument("--named", default="Qwen2.5-Coder-0.5B", help="what OTHER is called")
    a.add_argument("--instructions", choices=["avx2"])
    a.add_argument("--count", action="store_true")
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--decode", type=int, default=64)
    a.add_argument("--group", type=int, default=64)
    a.add_argument("--keep")
    a.add_argument("--wrap", default="")
    a.add_argument("--out")
    o = a.parse_args()
    if o.count and not o.instructions:
        a.error("--count: valgrind knows no more than --instructions avx2")
    if o.instructions:
        os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
    done, used = [], None
    if o.model:
        with tempfile.TemporaryDirectory() as tmp:
            python = python_with_llama(o, os.path.join(tmp, "venv"))
            for c in cases(o, python, o.keep or tmp):
                done.append((c, measured(o, c)))
                print(c["name"], done[-1][1], file=sys.stderr)
            used = [max(r["memory"] for r in done[0][1][0]), memory(o, done[0][0]["model"])]
    text = report(o, done, used)
    if o.out:
        record.write(o.out, text)
    print(text, end="")


if __name__ == "__main__":
    main()
