"""Does peft read the adapters that finetune writes, and does the model compute the same with them?

    python peft_reads.py BITLADDER MODEL       (torch, transformers, peft)

MODEL is a small checkpoint of Hugging Face's layout, tests/data/ladder-tiny say. LoRA, rank-stabilized LoRA and DoRA are
trained for a few steps on the CPU, and adapters beside weights that the method rounded; then the loss of the same
sequences is computed from the files that were written, by peft over the checkpoint, or over the base that export
writes, and by us. Exits with 1 where one differs by more than a hundred-thousandth: both are in f32.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

METHODS = ["lora+rank=8+alpha=16+targets=all", "lora+rank=4+alpha=8+rslora+targets=q_proj:v_proj",
           "lora+rank=8+alpha=8+dora+targets=all"]
# Beside weights that no other program has: export writes them.
OWN = ["loftq:w2+rank=8+alpha=8", "lq-lora:2.75+rank=8+plain+adapters=nf8", "ir-qlora:w3+rank=8",
       "qlora+code=nf3+rank=4+dora", "qlora+init=pissa+rank=4"]


def run(program, *arguments):
    subprocess.run([program, *arguments], check=True, capture_output=True)


def main():
    program, model = sys.argv[1:3]
    random.seed(5)
    rows = [[random.randrange(3, 90) for _ in range(64)] for _ in range(4)]
    wrong = 0
    for method in METHODS + OWN:
        with tempfile.TemporaryDirectory() as folder:
            data, out, curve, own = (os.path.join(folder, n) for n in ("ids.jsonl", "out", "curve", "own"))
            with open(data, "w") as f:
                f.writelines(json.dumps({"ids": r}) + "\n" for r in rows)
            run(program, "finetune", model, "--device", "cpu", "--method", method, "--data", data, "--batch", "2",
                "--steps", "4", "--lr", "2e-3", "--seed", "1", "-o", out)
            run(program, "finetune", out, "--device", "cpu", "--method", "lora+rank=1", "--data", data, "--batch", "4",
                "--steps", "1", "--lr", "0", "-o", os.path.join(folder, "again"), "--curve", curve)
            ours = json.loads(open(curve).readline())["loss"]
            if method in OWN:
                run(program, "export", out, "--without-adapters", "--type", "fp32", "-o", own)
            base = AutoModelForCausalLM.from_pretrained(own if method in OWN else model, dtype=torch.float32)
            peft = PeftModel.from_pretrained(base, out).eval()
            ids = torch.tensor(rows)
            with torch.no_grad():
                theirs = peft(input_ids=ids, labels=ids).loss.item()
            off = abs(ours - theirs) / theirs
            wrong += off > 1e-5
            print(f"{method}: ours {ours:.6f}, peft {theirs:.6f}, {off:.1e} apart")
    sys.exit(wrong > 0)


main()
