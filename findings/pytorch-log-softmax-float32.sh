#!/bin/bash
# PyTorch's log_softmax over a vocabulary, in float32 on a CPU.
#
# A good guess: its rounding errors have both signs, so the log-likelihood of a document, a sum of thousands of them,
# is off by little more than one of them; and lm-eval's float32 numbers on a CPU are those of float64 but for noise.
# Seen (PyTorch 2.9.1, CPU): nearly every log-probability is too large. The exponentials of a row are added in float32,
# in a few long chains; late in a chain what is far smaller than the sum is rounded away, a part of the tail with nearly
# every summand, so the normalizer is too small. It is 2 to 4e-6 a token here with 49,152 classes, more with more
# classes or shorter vectors (AVX2 against AVX-512), and it adds up: 0.21 nat of 36,566 for one article of WikiText-2
# with SmolLM2-135M, as lm-eval 0.4.13 scored it, 0.00 when the same logits go through log_softmax in float64.
# torch.logsumexp on the same float32 logits shows nothing of the kind.
#
# Needs python3 with venv and the network. Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check torch==2.9.1 numpy==2.3.5
"$dir/venv/bin/python" - <<'PY'
import sys

import torch

torch.manual_seed(0)
rows = 256
print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
same = True
for classes in (49152, 128256):
    logits = torch.randn(rows, classes) * 3
    at = torch.randint(classes, (rows,))
    logits[torch.arange(rows), at] += 12  # one likely class, and a tail
    exact = torch.log_softmax(logits.double(), -1)[torch.arange(rows), at]
    single = torch.log_softmax(logits, -1)[torch.arange(rows), at].double()
    by_sum = (logits[torch.arange(rows), at] - torch.logsumexp(logits, -1)).double()
    one, other = single - exact, by_sum - exact
    print(f"{classes} classes: log_softmax {one.mean():+.1e} a row, too large in {(one > 0).sum().item()} of {rows}; "
          f"by logsumexp {other.mean():+.1e}, too large in {(other > 0).sum().item()}")
    same = same and one.mean() > 1e-6 and (one > 0).sum() > 0.95 * rows and abs(other.mean()) < 1e-7
print("as described" if same else "CHANGED: read the head of this script")
sys.exit(not same)
PY
