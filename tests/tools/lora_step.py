"""How long does a step of LoRA take beside PyTorch and peft, on the same cores, in turn?

    python lora_step.py BITLADDER MODEL [ROUNDS [STEPS]] [--out FILE.md]       (torch, transformers, peft)

MODEL is a small checkpoint of Hugging Face's layout, tests/data/ladder-tiny say. Both train rank 8 on the seven linears
of every block in f32, without computing anything again, on the same 8 sequences of 256 tokens; the first loss of both
has to be the same. Each round runs one after the other; what is told is the least and the median of the rounds, and
their quotient: the machine may be busy with other things, but is so for both.

FILE is a page of what was found. Where `perf` is there, it has the share of the processor's time that our step spends
in products of matrices too, the reading of weights for them included; what is in FILE from its first "## " on stays.
"""
import argparse
import datetime
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import record

THREADS, BATCH, LENGTH, RANK = 2, 8, 256, 8
# functions of ours: tiles of products, of attention's, of gradients of weights; weights on their way into panels
PRODUCTS = re.compile(r"(tile|scores|values|sums|chains?)\d+$|bl_avx512_(low|panel)_rows$|unpack_\w+$")


def finetune(program, model, data, steps, folder):
    return [program, "finetune", model, "--method", f"lora+rank={RANK}", "--data", data, "--batch", str(BATCH), "--steps",
            str(steps), "--lr", "1e-4", "--keep-activations", "--threads", str(THREADS), "--json", "--device", "cpu",
            "--curve", os.path.join(folder, "curve"), "-o", os.path.join(folder, "out")]


def ours(program, model, data, steps):
    with tempfile.TemporaryDirectory() as d:
        out = subprocess.run(finetune(program, model, data, steps, d), check=True, capture_output=True, text=True).stdout
        return json.loads(out)["seconds"] / steps, json.loads(open(os.path.join(d, "curve")).readline())["loss"]


def share_of_products(program, model, data, steps):
    """In percent, of the samples of all threads; None: perf is not there, or may not look."""
    if not shutil.which("perf"):
        return None
    with tempfile.TemporaryDirectory() as d:
        found = os.path.join(d, "perf.data")
        if subprocess.run(["perf", "record", "-o", found] + finetune(program, model, data, steps, d),
                          capture_output=True).returncode:
            return None
        rows = subprocess.run(["perf", "report", "-i", found, "--stdio", "--no-children", "-g", "none", "-F",
                               "overhead,symbol"], check=True, capture_output=True, text=True).stdout
    parts = [line.split() for line in rows.splitlines() if line.strip() and not line.startswith("#")]
    return sum(float(x[0].rstrip("%")) for x in parts if len(x) > 2 and PRODUCTS.match(x[2]))


def theirs(model, ids, steps):
    torch.manual_seed(0)
    m = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    m = get_peft_model(m, LoraConfig(r=RANK, lora_alpha=16, target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    m.train()
    o = torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-4, weight_decay=0)
    x = torch.tensor(ids)
    first, t0 = None, time.monotonic()
    for _ in range(steps):
        loss = m(x, labels=x).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in m.parameters() if p.requires_grad], 1.0)
        o.step()
        o.zero_grad()
        first = first if first is not None else loss.item()
    return (time.monotonic() - t0) / steps, first


def page(program, rounds, steps, times, share):
    of = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    least, median = ({k: f(v) * 1e3 for k, v in times.items()} for f in (min, statistics.median))
    rows = [f"| {k} | {least[k]:.0f} | {median[k]:.0f} |" for k in times]
    out = ["# A step of LoRA on a CPU, beside PyTorch and peft", "",
           f"Made by `tests/tools/lora_step.py` on {datetime.date.today()}; {record.cpuinfo('model name')}, {THREADS} "
           f"threads; {of}; torch {torch.__version__},", f"transformers {version('transformers')}, peft "
           f"{version('peft')}.", f"Rank {RANK} on the seven linears of every block, {BATCH} sequences of {LENGTH} tokens, "
           f"fp32, nothing computed again. Both in turn, {rounds} rounds", f"of {steps} steps.", "",
           "| | least, ms a step | median, ms a step |", "| --- | ---: | ---: |"] + rows
    out.append("| ratio | {:.2f} | {:.2f} |".format(*(t["peft"] / t["bitladder"] for t in (least, median))))
    if share is not None:
        out += ["", f"{share:.0f} % of the processor's time of our run is in products of matrices, by `perf`."]
    return "\n".join(out) + "\n"


def main():
    a = argparse.ArgumentParser()
    a.add_argument("program")
    a.add_argument("model")
    a.add_argument("rounds", nargs="?", type=int, default=5)
    a.add_argument("steps", nargs="?", type=int, default=16)
    a.add_argument("--out")
    o = a.parse_args()
    program, model, rounds, steps = o.program, o.model, o.rounds, o.steps
    torch.set_num_threads(THREADS)
    g = torch.Generator().manual_seed(1)
    vocab = json.load(open(os.path.join(model, "config.json")))["vocab_size"]
    ids = torch.randint(3, vocab, (BATCH, LENGTH), generator=g).tolist()
    share = None
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.writelines(json.dumps({"ids": row}) + "\n" for row in ids)
        f.flush()
        times = {"bitladder": [], "peft": []}
        for k in range(rounds + 1):  # the first round is of warm caches
            a, loss_a = ours(program, model, f.name, steps)
            b, loss_b = theirs(model, ids, steps)
            if abs(loss_a - loss_b) > 1e-3 * loss_b:
                sys.exit(f"the first losses differ: {loss_a} and {loss_b}")
            if k:
                times["bitladder"].append(a)
                times["peft"].append(b)
        if o.out:
            share = share_of_products(program, model, f.name, 3 * steps)
    for name, t in times.items():
        print(f"{name:10} {min(t) * 1e3:8.1f} ms a step at least, {statistics.median(t) * 1e3:8.1f} in the median")
    least, median = (f(times["peft"]) / f(times["bitladder"]) for f in (min, statistics.median))
    print(f"{least:.2f} times as fast by the least, {median:.2f} by the median; loss {loss_a:.4f} and {loss_b:.4f}")
    if o.out:
        record.write(o.out, page(program, rounds, steps, times, share))


main()
