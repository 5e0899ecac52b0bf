"""Do the libraries whose layouts `bitladder export` writes load them, and have the weights that bitladder has?

    python packed_libraries.py BITLADDER MODEL      (gptqmodel, autoawq, compressed-tensors, transformers, torch)

MODEL, a small checkpoint, is rounded to nearest in settings that each layout takes, exported, loaded by the library, and
every weight of a linear that the library decodes is compared with the dense export of the same model: within the
rounding of the type that the library decodes to. GPTQModel also scores a text, beside `bitladder score`. AutoAWQ's own
loader does not run under transformers 5; its layout is decoded by AutoAWQ's functions and loaded by GPTQModel.
"""
import json
import os
import subprocess
import sys
import tempfile

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from safetensors import safe_open

TEXT = "Once upon a time there was a little girl who liked to play in the garden with her dog."
CASES = [("gptq", "rtn:w4g32"), ("gptq", "rtn:w2g32"), ("gptq", "rtn:w8pc+symmetric"), ("gptq_v2", "rtn:w4g32+symmetric"),
         ("awq", "rtn:w4g32"), ("compressed-tensors", "rtn:w4g32"), ("compressed-tensors", "rtn:w3g32"),
         ("compressed-tensors", "rtn:w8pc+symmetric"), ("gptq", "gptq:w4g32+act-order"),
         ("compressed-tensors", "gptq:w4g32+act-order"), ("compressed-tensors", "gptq:w3g32+act-order+symmetric")]


def by_gptqmodel(d, ids):
    from gptqmodel import BACKEND, GPTQModel
    m = GPTQModel.load(d, device="cpu", backend=BACKEND.TORCH)
    w = {}
    for n, x in m.model.named_modules():
        if hasattr(x, "qweight") and hasattr(x, "dequantize_weight"):
            w[n + ".weight"] = x.dequantize_weight().T.float()
    with torch.no_grad():
        logp = m.model(torch.tensor([ids])).logits.float().log_softmax(-1)[0]
    return w, sum(float(logp[i, ids[i + 1]]) for i in range(len(ids) - 1))


def by_autoawq(d):
    from awq.utils.packing_utils import dequantize_gemm
    t = safe_open(os.path.join(d, "model.safetensors"), "pt")
    q = json.load(open(os.path.join(d, "config.json")))["quantization_config"]
    w = {}
    for n in t.keys():
        if n.endswith(".qweight"):
            b = n[: -len("qweight")]
            s = t.get_tensor(b + "scales")
            w[b + "weight"] = dequantize_gemm(t.get_tensor(n), t.get_tensor(b + "qzeros"), s, 4, q["group_size"]).T.float()
    return w


def by_compressed_tensors(d, ids):
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig
    m = AutoModelForCausalLM.from_pretrained(d, quantization_config=CompressedTensorsConfig(run_compressed=False),
                                             dtype=torch.float32)
    w = {n: p.detach().float() for n, p in m.named_parameters() if n.endswith("proj.weight")}
    with torch.no_grad():
        logp = m(torch.tensor([ids])).logits.float().log_softmax(-1)[0]
    return w, sum(float(logp[i, ids[i + 1]]) for i in range(len(ids) - 1))


def main(bitladder, model):
    bad, done = 0, {}

    def run(*a):
        return subprocess.run([bitladder, *a], check=True, capture_output=True, text=True).stdout

    with tempfile.TemporaryDirectory() as tmp:
        for layout, method in CASES:
            q, x, dense = (os.path.join(tmp, f"{method}.{k}") for k in ("q", layout, "dense"))
            if method not in done:
                run("quantize", model, "--method", method, "--calib", "primer", "--calib-n", "4", "--calib-seqlen", "128",
                    "-o", q, "-q")
                run("export", q, "--format", "safetensors", "--type", "fp32", "-o", dense, "-q")
                done[method] = json.loads(run("score", "--model", q, "--prompt", TEXT))
            run("export", q, "--format", layout, "-o", x, "-q")
            ours, ids = done[method], done[method]["ids"]
            loaders = {"gptq": ["gptqmodel"], "gptq_v2": ["gptqmodel"], "awq": ["autoawq", "gptqmodel"],
                       "compressed-tensors": ["compressed-tensors"]}[layout]
            want = safe_open(os.path.join(dense, "model.safetensors"), "pt")
            for loader in loaders:
                score = None
                if loader == "gptqmodel":
                    w, score = by_gptqmodel(x, ids)
                elif loader == "autoawq":
                    w = by_autoawq(x)
                else:
                    w, score = by_compressed_tensors(x, ids)
                linears = [n for n in want.keys() if n.endswith("proj.weight")]
                worst = max((float((w[n] - want.get_tensor(n)).abs().max() / want.get_tensor(n).abs().max())
                             for n in linears if n in w), default=0)
                # GPTQModel takes bf16, eight bits, for scale and weight; its AWQ linears give a score only
                good = worst < 8e-3 and (not w or set(w) >= set(linears))
                good = good and (score is None or abs(score / ours["loglikelihood"] - 1) < 1e-2)
                bad += not good
                print(f"{layout:20} {method:24} {loader:20} {len(w):3} linears, worst {worst:.1e} of the largest"
                      + (f", text {score:.3f}, bitladder {ours['loglikelihood']:.3f}" if score is not None else "")
                      + ("" if good else "  DIFFERS"), flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
