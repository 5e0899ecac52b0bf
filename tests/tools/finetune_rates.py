"""How many tokens a second does each method of finetuning learn beside LoRA, on the same cores, in turn?

    python finetune_rates.py BITLADDER MODEL [ROUNDS [STEPS]] [--methods NAME,...] [--found FILE.json] [--out FILE.md]

MODEL is a small checkpoint, tinystories656K say. All train on the same sequences of random ids in f32; before each run
of a method is one of LoRA of its rank, and what is told is the median over the rounds of what the two took a step, and
of their quotient: the machine may be busy with other things, but is so for both. Asked is 0.8, and 0.5 of methods that
need the gradient of whole weights. FILE is a page of what was found; what is in it from its first "## " on stays. With
--found FILE.json what was found before is there too, so that methods may be measured some at a time.
"""
import argparse
import datetime
import json
import os
import random
import statistics
import subprocess
import tempfile

import record

THREADS, BATCH, LENGTH = 2, 8, 256
LORA = "lora+rank={}"
FIRST = "first epoch of "  # of a method: no sequence comes twice
# method, its rank (of those without one LoRA's is 8), whether it needs the gradient of whole weights
METHODS = [("lora+rank=8+rslora", 8, False), ("lora+rank=8+init=pissa", 8, False), ("lora+rank=8+init=olora", 8, False),
           ("lora+rank=8+dora", 8, False), ("qlora+rank=8", 8, False), ("gptq-lora+rank=8", 8, False),
           ("loftq:w4+rank=8", 8, False), ("lq-lora:2.75+plain+rank=8", 8, False), ("qa-lora:w4+rank=8", 8, False),
           ("ir-qlora+rank=8", 8, False), ("int2.1:w2+rank=8", 8, False),
           (FIRST + "int2.1:w2+rank=8", 8, False), ("l4q:w4+rank=8", 8, True),
           ("lr-qat:w4+rank=8", 8, True), ("rtn:w4g64+e2e-qp", 8, True), ("lsq:w4", 8, True), ("llm-qat:w4a8", 8, True),
           ("db-llm", 8, True), ("full", 8, True), ("galore+rank=8", 8, True), ("q-galore+rank=8", 8, True)]


def seconds(program, model, method, data, steps, keep):
    """A step; None, and a line, where it does not run."""
    with tempfile.TemporaryDirectory() as d:
        r = subprocess.run([program, "finetune", model, "--method", method, "--data", data, "--batch", str(BATCH), "--steps",
                            str(steps), "--lr", "1e-4", "--threads", str(THREADS), "--json", "--quiet", "--device", "cpu",
                            "--calib", "primer", "--calib-n", "8", "--calib-seqlen", "128", "-o", os.path.join(d, "out")]
                           + (["--keep-activations"] if keep else []), capture_output=True, text=True)
    if r.returncode:
        print(f"{method}: {r.stderr.strip().splitlines()[-1] if r.stderr.strip() else r.returncode}")
        return None
    return json.loads(r.stdout)["seconds"] / steps


def measure(program, model, data, method, rank, rounds, steps, keep):
    pairs = []
    text = data[method.startswith(FIRST)]
    for k in range(rounds):
        a, b = (seconds(program, model, m, text, steps, keep) for m in (LORA.format(rank), method.removeprefix(FIRST)))
        if a is None or b is None:
            return None
        pairs.append((a, b))
    return (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
            statistics.median(a / b for a, b in pairs), min(a / b for a, b in pairs), max(a / b for a, b in pairs))


def page(program, model, rounds, steps, found):
    of = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    tokens = BATCH * LENGTH
    out = ["# Methods of finetuning on a CPU, beside LoRA", "",
           f"Made by `tests/tools/finetune_rates.py` on {datetime.date.today()}; {os.path.basename(model)}; "
           f"{record.cpuinfo('model name')}, {THREADS} threads; {of}.",
           f"{BATCH} sequences of {LENGTH} random ids a step, the same in each but for the row that says otherwise, f32; "
           f"{rounds} rounds of {steps} steps, before each run of a method one of LoRA of rank 8 on the same linears.",
           "Of LoRA: its seconds a step by the method's, median (least, most) of the rounds. In the last column both keep "
           "the activations of all blocks, so that none is computed again.", "",
           "| method | tokens/s | of LoRA | asked | of LoRA, activations kept |", "| :-- | --: | --: | --: | --: |"]
    for method, _, whole in METHODS:
        if method not in found:
            continue
        here, kept = found[method]
        if here is None:
            out.append(f"| {method} | | not run | | |")
            continue
        beside = "" if kept is None else "{:.2f}".format(kept[2])
        out.append("| {} | {:.0f} | {:.2f} ({:.2f}, {:.2f}) | {} | {} |".format(method, tokens / here[1], *here[2:],
                                                                               0.5 if whole else 0.8, beside))
    return "\n".join(out) + "\n"


def main():
    a = argparse.ArgumentParser()
    a.add_argument("program")
    a.add_argument("model")
    a.add_argument("rounds", nargs="?", type=int, default=3)
    a.add_argument("steps", nargs="?", type=int, default=10)
    a.add_argument("--methods", default="")
    a.add_argument("--vocab", type=int, default=2000, help="ids are below it")
    a.add_argument("--found")
    a.add_argument("--out")
    o = a.parse_args()
    wanted = [m for m in METHODS if not o.methods or any(m[0].startswith(w) for w in o.methods.split(","))]
    random.seed(1)
    found = {}
    if o.found and os.path.exists(o.found):
        with open(o.found) as f:
            found = json.load(f)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f, tempfile.NamedTemporaryFile("w", suffix=".jsonl") as g:
        for file, rows in ((f, BATCH), (g, BATCH * o.steps)):
            for _ in range(rows):
                file.write(json.dumps({"ids": [random.randrange(3, o.vocab) for _ in range(LENGTH)]}) + "\n")
            file.flush()
        for m in wanted:
            both = [measure(o.program, o.model, (f.name, g.name), m[0], m[1], o.rounds, o.steps, keep)
                    for keep in (False, True)]
            found[m[0]] = both
            if o.found:
                with open(o.found, "w") as kept:
                    json.dump(found, kept)
            for what, x in zip(("", " kept"), both):
                if x:
                    print("{}{}: {:.1f} ms a step, LoRA {:.1f}; {:.2f} ({:.2f}, {:.2f})".format(
                        m[0], what, x[1] * 1e3, x[0] * 1e3, *x[2:]), flush=True)
    if o.out:
        record.write(o.out, page(o.program, o.model, o.rounds, o.steps, found))


main()
