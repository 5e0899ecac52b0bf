"""Writes one small LLaMA a directory, packed by the programs that invented the layouts, and the weights that are in it
(expected.safetensors). gptqmodel 7.7.0 (TorchLinear, its conversion to format 1), autoawq 0.2.9 (WQLinear_GEMM, loaded
from its source by path: its package imports a transformers of its time), compressed-tensors 0.20.0 (pack_to_int32),
torch 2.15.0, safetensors 0.8.0.  usage: record.py AWQ_SOURCE OUT"""
import importlib, json, os, sys, types
import torch
from safetensors.torch import save_file

awq_source, out_dir = sys.argv[1:]
DIM, FFN, VOCAB = 32, 64, 8
SHAPES = {"self_attn.q_proj": (DIM, DIM), "self_attn.k_proj": (DIM, DIM), "self_attn.v_proj": (DIM, DIM),
          "self_attn.o_proj": (DIM, DIM), "mlp.gate_proj": (FFN, DIM), "mlp.up_proj": (FFN, DIM), "mlp.down_proj": (DIM, FFN)}
gen = torch.Generator().manual_seed(1)


def draw(o, i, bits, group, sym, dtype, ordered):
    """Codes [o, i], scales and zeros [o, groups], the group of each input, and the weights they make."""
    g = i if group < 0 else group
    n = -(-i // g)
    q = torch.randint(0, 2**bits, (o, i), generator=gen)
    z = torch.full((o, n), 2 ** (bits - 1)) if sym else torch.randint(0, 2**bits, (o, n), generator=gen)
    s = (torch.rand(o, n, generator=gen) * 0.02 + 0.005).to(dtype)
    of = torch.arange(i) // g
    if ordered:
        of = of[torch.randperm(i, generator=gen)]
    w = (q - z[:, of]).float() * s[:, of].float()
    return q, z, s, of, w


def gptq(name, q, z, s, of, w, bits, group, sym, v1):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    o, i = q.shape
    m = TorchLinear(bits=bits, group_size=group, desc_act=False, sym=sym, in_features=i, out_features=o, bias=False,
                    pack_dtype=torch.int32, register_buffers=True)
    lin = torch.nn.Linear(i, o, bias=False)
    lin.weight.data = w.clone()
    m.pack_original(linear=lin, scales=s.float(), zeros=z.float(), g_idx=of.to(torch.int32))
    if v1:
        convert_gptq_v2_to_v1_format_module(m, types.SimpleNamespace(bits=bits, pack_dtype=torch.int32))
    return {f"{name}.{k}": getattr(m, k).contiguous() for k in ("qweight", "qzeros", "scales", "g_idx")}


def awq(name, q, z, s, w, group):
    sys.modules.setdefault("awq", types.ModuleType("awq")).__path__ = [os.path.join(awq_source, "awq")]
    for sub in ("modules", "modules.linear"):
        sys.modules.setdefault("awq." + sub, types.ModuleType("awq." + sub)).__path__ = [
            os.path.join(awq_source, "awq", *sub.split("."))]
    gemm = importlib.import_module("awq.modules.linear.gemm")
    lin = torch.nn.Linear(q.shape[1], q.shape[0], bias=False)
    lin.weight.data = w.half()
    m = gemm.WQLinear_GEMM.from_linear(lin, 4, group, scales=s.t().contiguous(), zeros=z.t().contiguous().to(torch.float16))
    return {f"{name}.{k}": getattr(m, k).contiguous() for k in ("qweight", "qzeros", "scales")}


def ct(name, q, z, s, bits, sym):
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    half = 2 ** (bits - 1)
    t = {f"{name}.weight_packed": pack_to_int32((q - half).to(torch.int8), bits), f"{name}.weight_scale": s,
         f"{name}.weight_shape": torch.tensor(q.shape)}
    if not sym:
        t[f"{name}.weight_zero_point"] = pack_to_int32((z - half).to(torch.int8), bits, packed_dim=0).contiguous()
    return t


def quantization(kind, bits, group, sym, ordered):
    if kind == "ct":
        return {"config_groups": {"group_0": {"format": "pack-quantized", "input_activations": None, "output_activations": None,
                "targets": ["Linear"], "weights": {"actorder": None, "block_structure": None, "dynamic": False,
                "group_size": None if group < 0 else group, "num_bits": bits, "observer": "minmax", "observer_kwargs": {},
                "scale_dtype": None, "strategy": "channel" if group < 0 else "group", "symmetric": sym, "type": "int",
                "zp_dtype": None}}}, "format": "pack-quantized", "global_compression_ratio": None, "ignore": ["lm_head"],
                "kv_cache_scheme": None, "quant_method": "compressed-tensors", "quantization_status": "compressed",
                "sparsity_config": {}, "transform_config": {}, "version": "0.20.0"}
    if kind == "awq":
        return {"bits": bits, "group_size": group, "modules_to_not_convert": None, "quant_method": "awq", "version": "gemm",
                "zero_point": True}
    fmt = "gptq" if kind == "gptq" else "gptq_v2"
    return {"bits": bits, "group_size": group, "desc_act": ordered, "sym": sym, "lm_head": False, "method": "gptq",
            "quant_method": "gptq", "format": fmt, "checkpoint_format": fmt, "pack_dtype": "int32",
            "meta": {"quantizer": ["gptqmodel:7.7.0"], "damp_percent": 0.05}}


def write(directory, kind, bits, group, sym=False, dtype=torch.float16, ordered=False):
    path = os.path.join(out_dir, directory)
    os.makedirs(path, exist_ok=True)
    t, expected = {}, {}
    for name, (o, i) in SHAPES.items():
        name = "model.layers.0." + name
        q, z, s, of, w = draw(o, i, bits, group, sym, dtype, ordered)
        if "q_proj" in name or "down_proj" in name:
            expected[name + ".weight"] = w
        if kind == "ct":
            t |= ct(name, q, z, s, bits, sym)
        elif kind == "awq":
            t |= awq(name, q, z, s, w, group)
        else:
            t |= gptq(name, q, z, s, of, w, bits, group, sym, kind == "gptq")
    for name, shape in (("model.embed_tokens.weight", (VOCAB, DIM)), ("model.layers.0.input_layernorm.weight", (DIM,)),
                        ("model.layers.0.post_attention_layernorm.weight", (DIM,)), ("model.norm.weight", (DIM,))):
        t[name] = (torch.rand(shape, generator=gen) + 0.5).to(torch.bfloat16)
    save_file(t, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    save_file(expected, os.path.join(path, "expected.safetensors"))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": DIM, "intermediate_size": FFN,
              "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": VOCAB,
              "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": True, "torch_dtype": "float16",
              "quantization_config": quantization(kind, bits, group, sym, ordered)}
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f, indent=1)
        f.write("\n")


write("gptq-w4g16", "gptq", 4, 16)
write("gptq-w3g32", "gptq", 3, 32)
write("gptq_v2-w2g16-ordered", "gptq_v2", 2, 16, ordered=True)
write("gptq-w4g32-sym", "gptq", 4, 32, sym=True)
write("gptq-w8pc", "gptq", 8, -1)
write("awq-w4g16", "awq", 4, 16)
write("ct-w4g16-sym", "ct", 4, 16, sym=True, dtype=torch.bfloat16)
write("ct-w3g16", "ct", 3, 16)
write("ct-w8pc", "ct", 8, -1, dtype=torch.float32)
