"""Records rolling_float64.json: log-likelihoods of the recorded WikiText-2 documents, all in float64.

    bitladder export SmolLM2-135M-Instruct.Q4_1.gguf --format safetensors --type fp32 -o DIR
    python rolling_float64.py DIR GOLDEN/smollm2-135m/harness/wikitext.jsonl IDS.json >rolling_float64.json

IDS.json: a list of the token ids of each document, as `bitladder tokenize --no-bos` gives them. Windows as lm-eval makes
them: 2048 tokens, the beginning-of-text token in front of the first one, the last window filled up with context. In
"float32" the same logits went through log_softmax in float32 (findings/pytorch-log-softmax-float32.sh).

Recorded with transformers 4.57.1 and torch 2.9.1 on a CPU with AVX-512.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

LENGTH = 2048
torch.set_grad_enabled(False)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float64).eval()
recorded = [json.loads(line)["replies"][0] for line in open(sys.argv[2])]
rows = []
for ids, harness in zip(json.load(open(sys.argv[3])), recorded):
    text, n, at = [1] + ids, len(ids), 0
    double = single = 0.0
    while at < n:
        end = min(at + LENGTH, n)
        logits = model(torch.tensor([text[max(0, end - LENGTH):end]])).logits[0][at - end:]
        target = torch.tensor(text[at + 1:end + 1])[:, None]
        double += torch.log_softmax(logits, -1).gather(1, target).sum().item()
        single += torch.log_softmax(logits.float(), -1).gather(1, target).double().sum().item()
        at = end
    rows.append({"tokens": n, "float64": round(double, 4), "float32": round(single, 4), "lm_eval": harness})
print(json.dumps(rows, indent=1))
