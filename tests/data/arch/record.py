"""Records what transformers computes for tiny models of every architecture and rotary scaling: one JSON file a model.

    python record.py DIR            needs torch, transformers 5.24, safetensors, gguf 0.19

Weights follow from the names of the tensors (see README.md), so that only names and shapes are kept. A file holds the
configuration as save_pretrained writes it, the tensors by their names in Hugging Face and GGUF files, the ids of one
sequence, logits at some of its positions, and the tokens of a greedy continuation.
"""
import json, os, sys, tempfile
import numpy as np
import torch
import gguf
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

torch.set_num_threads(1)
BASE = dict(vocab_size=61, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=None, tie_word_embeddings=False)
GGUF_ARCH = {"llama": gguf.MODEL_ARCH.LLAMA, "mistral": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}


def rope(kind, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **more))


MODELS = {  # name: (configuration class, changes, length of the sequence)
    "llama": (LlamaConfig, {}, 24),
    "llama-biases": (LlamaConfig, dict(attention_bias=True, mlp_bias=True), 24),
    "llama-head-dim": (LlamaConfig, dict(head_dim=12, tie_word_embeddings=True), 24),
    "mistral": (MistralConfig, dict(sliding_window=32), 24),
    "qwen2": (Qwen2Config, dict(rope_parameters=dict(rope_type="default", rope_theta=1000000.0), tie_word_embeddings=True), 24),
    "qwen3": (Qwen3Config, dict(head_dim=16, rms_norm_eps=1e-6), 24),
    "qwen3-biases": (Qwen3Config, dict(head_dim=16, attention_bias=True, num_key_value_heads=1), 24),
    "rope-linear": (LlamaConfig, rope("linear", factor=4.0), 40),
    "rope-llama3": (LlamaConfig, rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32), 40),
    "rope-yarn": (LlamaConfig, rope("yarn", factor=4.0, original_max_position_embeddings=16), 40),
    "rope-yarn-options": (Qwen2Config, rope("yarn", factor=3.5, original_max_position_embeddings=20, beta_fast=8.0, beta_slow=0.5, mscale=1.25, mscale_all_dim=0.5, truncate=False), 40),
    "rope-yarn-attention": (MistralConfig, dict(sliding_window=None, **rope("yarn", factor=4.0, original_max_position_embeddings=16, attention_factor=1.5)), 40),
    "rope-dynamic": (LlamaConfig, dict(max_position_embeddings=24, **rope("dynamic", factor=3.0)), 40),
    "rope-dynamic-short": (LlamaConfig, dict(max_position_embeddings=48, **rope("dynamic", factor=3.0)), 40),
}


def fill(name, shape):
    """Element i: splitmix64 of FNV-1a(name) + (i + 1) * golden ratio, the top 24 bits as a number in [-1, 1)."""
    h = 0xcbf29ce484222325
    for b in name.encode(): h = ((h ^ b) * 0x100000001b3) & 0xffffffffffffffff
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(h) + (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        z = z ^ (z >> np.uint64(31))
    x = (z >> np.uint64(40)).astype(np.int64).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    scale, shift = (0.25, 1.0) if "norm" in name else (0.5, 0.0) if name.endswith("bias") else (0.4, 0.0)
    return torch.from_numpy(x * np.float32(scale) + np.float32(shift)).reshape(shape)


def permuted(w, heads):
    """Rows of a rotary parameter in adjacent pairs, as convert_hf_to_gguf.py of llama.cpp writes LLaMA's."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


@torch.no_grad()
def record(name, cls, changes, length, out):
    config = cls(**{**BASE, **changes})
    with tempfile.TemporaryDirectory() as d:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
        for n, p in model.named_parameters(): p.copy_(fill(n, p.shape))
        model.save_pretrained(d)
        stored = load_file(d + "/model.safetensors")
        written = json.load(open(d + "/config.json"))
        model = AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32, attn_implementation="eager").eval()
    for n, t in stored.items(): assert torch.equal(t, fill(n, t.shape)), n
    names = gguf.get_tensor_name_map(GGUF_ARCH[config.model_type], config.num_hidden_layers)
    ids = [1] + [int(3 + (7 * i * i + 11 * i) % 58) for i in range(length - 1)]
    logits = model(torch.tensor([ids])).logits[0]
    at = sorted({0, 1, length // 2, length - 2, length - 1})
    new = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, length, dtype=torch.long), max_new_tokens=8, do_sample=False, eos_token_id=None,
                         pad_token_id=0, return_dict_in_generate=True, output_logits=True)
    margins = [float(x[0].topk(2).values @ torch.tensor([1.0, -1.0])) for x in new.logits]
    def gguf_name(n):
        base, tail = n.rsplit(".", 1)
        return names.get_name(base) + "." + tail
    tensors = [dict(name=n, shape=list(t.shape), gguf=gguf_name(n)) for n, t in sorted(stored.items())]
    for k in ("transformers_version", "dtype", "use_cache", "initializer_range", "attention_dropout"): written.pop(k, None)
    doc = dict(made_with=f"transformers {transformers.__version__}, torch {torch.__version__}, gguf 0.19.0, float32, eager attention", config=written,
               tensors=tensors, ids=ids, positions=at, logits=[[float(f"{v:.8g}") for v in logits[i].tolist()] for i in at],
               new_ids=new.sequences[0, length:].tolist(), margins=[float(f"{m:.4g}") for m in margins])
    with open(os.path.join(out, name + ".json"), "w") as f:
        f.write("{" + ",\n".join(f'"{k}": ' + ("[\n" + ",\n".join(json.dumps(x, separators=(",", ":")) for x in v) + "]" if k in ("tensors", "logits")
                                                else json.dumps(v, separators=(",", ":"))) for k, v in doc.items()) + "}\n")
    print(f"{name:22} {len(tensors)} tensors, new {doc['new_ids']}, least margin {min(margins):.3f}, largest logit {logits.abs().max():.2f}")


for n, (cls, changes, length) in MODELS.items(): record(n, cls, changes, length, sys.argv[1])
