"""Which type llama.cpp's quantizer gives each weight: writes gguf_mixtures.json.

    python gguf_mixtures.py DIR        (llama-cpp-python, gguf, numpy; DIR: for the models it makes)

Two models of 16 blocks with widths that 256 divides: "shared", 8 heads that share 2 of keys and values, and "alone", 8
and 8. Each file type, with an importance matrix and without where it can be; "16*q4_k" is a type of 16 blocks in a row.
"""
import ctypes
import json
import os
import re
import sys

import gguf
import llama_cpp
import numpy as np

LAYERS, DIM, VOCAB = 16, 256, 32
NAMES = ("q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q2_k_s q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m q6_k iq4_nl iq4_xs iq3_s "
         "iq3_m iq3_xs iq3_xxs iq2_m iq2_s iq2_xs iq2_xxs iq1_m iq1_s tq1_0 tq2_0").split()


def make(path, kv):
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(LAYERS)
    w.add_context_length(64)
    w.add_embedding_length(DIM)
    w.add_feed_forward_length(DIM)
    w.add_head_count(8)
    w.add_head_count_kv(kv)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCAB)
    w.add_tokenizer_model("no_vocab")
    r = np.random.default_rng(0)
    shapes = {"token_embd": (VOCAB, DIM), "output": (VOCAB, DIM)}
    for i in range(LAYERS):
        for n, rows in ("attn_q", DIM), ("attn_k", 32 * kv), ("attn_v", 32 * kv), ("attn_output", DIM), ("ffn_gate", DIM), \
                ("ffn_up", DIM), ("ffn_down", DIM):
            shapes[f"blk.{i}.{n}"] = (rows, DIM)
        w.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(DIM, np.float32))
        w.add_tensor(f"blk.{i}.ffn_norm.weight", np.ones(DIM, np.float32))
    for n, s in shapes.items():
        w.add_tensor(n + ".weight", r.standard_normal(s).astype(np.float32))
    w.add_tensor("output_norm.weight", np.ones(DIM, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return list(shapes)


lines = []


@llama_cpp.llama_log_callback
def log(_level, text, _data):
    lines.append(text.decode(errors="replace"))


llama_cpp.llama_log_set(log, ctypes.c_void_p(0))


def types(path, out, name, tensors, importance):
    p = llama_cpp.llama_model_quantize_default_params()
    p.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + name.upper())
    p.nthread = 1
    keep = []
    if importance:
        data = (ctypes.c_float * DIM)(*[1.0] * DIM)
        T = llama_cpp.llama_model_imatrix_data
        a = (T * (len(tensors) + 1))()
        for i, t in enumerate(tensors):
            s = (t + ".weight").encode()
            keep.append(s)
            a[i].name = s
            a[i].data = ctypes.cast(data, type(a[i].data))
            a[i].size = DIM
        p.imatrix = ctypes.cast(a, type(p.imatrix))
        keep += [data, a]
    lines.clear()
    if llama_cpp.llama_model_quantize(path.encode(), out.encode(), ctypes.byref(p)):
        if importance or "importance matrix" not in "".join(lines):
            sys.exit(name + ": " + "".join(lines)[-500:])
        return None  # it insists on one
    got = {t.name[:-7]: t.tensor_type.name.lower() for t in gguf.GGUFReader(out).tensors}
    os.remove(out)
    row = {"token_embd": got["token_embd"], "output": got["output"]}
    for n in "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split():
        runs = []
        for i in range(LAYERS):
            t = got[f"blk.{i}.{n}"]
            if runs and runs[-1][1] == t:
                runs[-1][0] += 1
            else:
                runs.append([1, t])
        row[n] = " ".join(f"{k}*{t}" for k, t in runs)
    return row


def main(work):
    result = {"made_with": f"llama-cpp-python {llama_cpp.__version__}"}
    for model, kv in ("shared", 2), ("alone", 8):
        path = os.path.join(work, model + ".gguf")
        tensors = make(path, kv)
        result[model] = {}
        for name in NAMES:
            for importance in (False, True):
                key = name + (" weighed" if importance else "")
                row = types(path, os.path.join(work, "out.gguf"), name, tensors, importance)
                if row:
                    result[model][key] = row
                print(model, key, flush=True)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf_mixtures.json"), "w") as f:
        f.write(re.sub(r"\n {6,}", " ", json.dumps(result, indent=2)).replace("\n    }", "}") + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
