"""How long does a step of LoRA take beside PyTorch and peft, on the same cores, in turn?

    python lora_step.py BITLADDER MODEL [ROUNDS [STEPS]]       (torch, transformers, peft)

MODEL is a small checkpoint of Hugging Face's layout, tests/data/ladder-tiny say. Both train rank 8 on the seven linears
of every block in f32, without computing anything again, on the same 8 sequences of 256 tokens; the first loss of both
has to be the same. Each round runs one after the other; what is told is the least and the median of the rounds, and
their quotient: the machine may be busy with other things, but is so for both.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

THREADS, BATCH, LENGTH, RANK = 2, 8, 256, 8


def ours(program, model, data, steps):
    with tempfile.TemporaryDirectory() as d:
        curve = os.path.join(d, "curve")
        out = subprocess.run([program, "finetune", model, "--method", f"lora+rank={RANK}", "--data", data, "--batch",
                              str(BATCH), "--steps", str(steps), "--lr", "1e-4", "--keep-activations", "--threads",
                              str(THREADS), "--json", "--device", "cpu", "--curve", curve, "-o", os.path.join(d, "out")],
                             check=True, capture_output=True, text=True).stdout
        return json.loads(out)["seconds"] / steps, json.loads(open(curve).readline())["loss"]


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


def main():
    program, model = sys.argv[1:3]
    rounds, steps = (int(v) for v in (sys.argv[3:5] + ["5", "8"][len(sys.argv) - 3:]))
    torch.set_num_threads(THREADS)
    g = torch.Generator().manual_seed(1)
    vocab = json.load(open(os.path.join(model, "config.json")))["vocab_size"]
    ids = torch.randint(3, vocab, (BATCH, LENGTH), generator=g).tolist()
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
    for name, t in times.items():
        print(f"{name:10} {min(t) * 1e3:8.1f} ms a step at least, {statistics.median(t) * 1e3:8.1f} in the median")
    least, median = (f(times["peft"]) / f(times["bitladder"]) for f in (min, statistics.median))
    print(f"{least:.2f} times as fast by the least, {median:.2f} by the median; loss {loss_a:.4f} and {loss_b:.4f}")


main()
