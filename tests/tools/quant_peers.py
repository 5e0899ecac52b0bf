"""How long does a calibrated quantization take, and how much memory, beside the library that people use for it?

    python quant_peers.py BITLADDER MODEL [--text FILE] [--n 8] [--seqlen 512] [--group 128] [--repeat 1]
        [--peers gptqmodel,...]

MODEL is quantized by bitladder and by each peer in turn, a process each, `--repeat` times over: gptqmodel by
GPTQModel (4 bits, groups of `--group`, asymmetric, natural order), awq by AutoAWQ (4 bits, the same groups, which must
divide every row, clipping), hqq by hqq (4 bits, groups of 64, no data), all on the CPU in fp32. All see the same windows of the text, drawn as GPTQ's
loader draws them. Printed: the wall time and the processor's time of the quantization alone (of bitladder the
processor's time of the whole process), the wall time of the whole process, its largest resident memory. Libraries are
given the dense export of the model. Nothing here is a test; wall times mean something on a machine that does nothing
else, the processor's time elsewhere too.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

THREADS = str(len(os.sched_getaffinity(0)))


def windows(bitladder, model, text, n, seqlen):
    line = json.dumps({"text": open(text).read()})
    out = subprocess.run([bitladder, "tokenize", "-", "--model", model], input=line, check=True, capture_output=True, text=True).stdout
    ids = json.loads(out)["ids"]
    random.seed(0)
    starts = [random.randint(0, len(ids) - seqlen - 1) for _ in range(n)]
    return [ids[s : s + seqlen] for s in starts]


def timed(work):
    """Wall and processor seconds."""
    t, c = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - t, time.process_time() - c


def gptqmodel(model, samples, group):
    import torch

    cores = os.cpu_count()
    os.cpu_count = lambda: max(4, cores)  # version 7.7 has two loaders for a pool of half the cores
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.quantization import QuantizeConfig

    torch.set_num_threads(int(THREADS))
    c = QuantizeConfig(bits=4, group_size=group, sym=False, desc_act=False, act_group_aware=False, damp_percent=0.01,
                       device="cpu")
    m = GPTQModel.load(model, c, dtype=torch.float32, backend=BACKEND.TORCH)
    data = [{"input_ids": s, "attention_mask": [1] * len(s)} for s in samples]
    return timed(lambda: m.quantize(data, batch_size=1))


def awq(model, samples, group):
    import torch
    from awq import AutoAWQForCausalLM

    torch.set_num_threads(int(THREADS))
    m = AutoAWQForCausalLM.from_pretrained(model, device_map="cpu", torch_dtype=torch.float32, safetensors=True)
    c = {"zero_point": True, "q_group_size": group, "w_bit": 4, "version": "GEMM"}
    return timed(lambda: m.quantize(None, quant_config=c, calib_data=samples, max_calib_samples=len(samples),
                                    max_calib_seq_len=len(samples[0]), duo_scaling=False))


def hqq(model, samples, group):
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(int(THREADS))
    m = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    c = BaseQuantizeConfig(nbits=4, group_size=64)
    linears = [x for x in m.model.layers.modules() if isinstance(x, torch.nn.Linear)]
    return timed(lambda: [HQQLinear(x, c, compute_dtype=torch.float32, device="cpu", del_orig=False) for x in linears])


PEERS = {"gptqmodel": (gptqmodel, "gptq:w4g%d"), "awq": (awq, "awq:w4g%d"), "hqq": (hqq, "hqq:w4g64")}


def measured(args, env=None):
    """Wall and processor seconds, largest resident MB, output of a process."""
    t = time.monotonic()
    p = subprocess.Popen(args, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    out = p.stdout.read()
    _, status, use = os.wait4(p.pid, 0)
    if status:
        sys.exit(f"{args[:4]}: status {status}")
    return time.monotonic() - t, use.ru_utime + use.ru_stime, use.ru_maxrss / 1024, out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("bitladder")
    a.add_argument("model")
    a.add_argument("--text")
    a.add_argument("--n", type=int, default=8)
    a.add_argument("--seqlen", type=int, default=512)
    a.add_argument("--group", type=int, default=128)
    a.add_argument("--repeat", type=int, default=1)
    a.add_argument("--peers", default="gptqmodel")
    a.add_argument("--side")  # of a process of this script: which peer it runs
    a.add_argument("--samples")
    o = a.parse_args()
    if o.side:
        print(json.dumps(PEERS[o.side][0](o.model, json.load(open(o.samples)), o.group)))
        return
    with tempfile.TemporaryDirectory() as d:
        text = o.text or os.path.join(d, "text")
        if not o.text:
            words = subprocess.run([o.bitladder, "corpus", "--n", "6000"], check=True, capture_output=True, text=True)
            open(text, "w").write(words.stdout)
        dense, samples = os.path.join(d, "dense"), os.path.join(d, "samples.json")
        subprocess.run([o.bitladder, "export", o.model, "--type", "fp32", "-o", dense, "-q"], check=True)
        if not os.path.exists(os.path.join(dense, "tokenizer.json")):  # of a GGUF file; the libraries want one to be there
            one = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "<end>": 1}, "merges": []},
                   "added_tokens": [{"id": 1, "content": "<end>", "special": True, "single_word": False, "lstrip": False,
                                     "rstrip": False, "normalized": False}]}
            json.dump(one, open(os.path.join(dense, "tokenizer.json"), "w"))
            json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "pad_token": "<end>"},
                      open(os.path.join(dense, "tokenizer_config.json"), "w"))
        json.dump(windows(o.bitladder, o.model, text, o.n, o.seqlen), open(samples, "w"))
        print(f"{'side':10} {'quantize s':>10} {'cpu s':>10} {'process s':>10} {'largest MB':>10}", flush=True)
        for i in range(o.repeat):
            for peer in o.peers.split(","):
                out = os.path.join(d, f"{peer}{i}")
                calib = [] if peer == "hqq" else ["--calib", "file:" + text, "--calib-n", str(o.n), "--calib-seqlen",
                                                  str(o.seqlen)]
                all_s, cpu, mb, _ = measured([o.bitladder, "quantize", o.model, "--method", PEERS[peer][1].replace("%d", str(o.group)), *calib, "-o",
                                              out, "--threads", THREADS, "-q"])
                seconds = json.load(open(os.path.join(out, "layers.json")))["seconds"]
                print(f"{'bitladder':10} {seconds:10.1f} {cpu:10.1f} {all_s:10.1f} {mb:10.0f}", flush=True)
                all_s, _, mb, out = measured([sys.executable, os.path.abspath(__file__), o.bitladder, dense, "--side", peer,
                                              "--group", str(o.group),
                                              "--samples", samples], {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": THREADS})
                seconds, cpu = json.loads(out.strip().splitlines()[-1])
                print(f"{peer:10} {seconds:10.1f} {cpu:10.1f} {all_s:10.1f} {mb:10.0f}", flush=True)


if __name__ == "__main__":
    main()
