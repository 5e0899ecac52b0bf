"""Does llama.cpp compute from our GGUF files what bitladder computes from the same weights?

    python gguf_llama.py BITLADDER MODEL... [--text FILE]      (llama-cpp-python, gguf, numpy)

Each MODEL, as a rule a directory of `quantize --method gguf:...`, is exported; llama.cpp scores a text with the file and
with the same weights decoded to F32 by gguf's own code. The second has to agree with `bitladder score` within 0.005 nat
over some hundred tokens, and every type has to be decoded alike. llama.cpp has to cut texts into the same tokens by the
tokenizer of the file, which export made of tokenizer.json or of SentencePiece's model where there was one. The first is what users get: llama.cpp on a CPU rounds
activations to 8 bits beside quantized weights, which moves the sum by some tenths of a nat. Of a type that gguf does not
decode there is only that, which has to be within 1 in 1000.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np


def decoded(src, dst):
    """The same file with every tensor in F32."""
    r = gguf.GGUFReader(src)
    arch = r.fields["general.architecture"].contents()
    w = gguf.GGUFWriter(dst, arch)
    for f in r.fields.values():
        if f.name.startswith("GGUF.") or f.name == "general.architecture":
            continue
        if f.types == [gguf.GGUFValueType.ARRAY]:  # no merges, which gguf does not write: one of what is nowhere
            w.add_array(f.name, ["\u2318 \u2318"])
            continue
        sub = f.types[1] if f.types[0] == gguf.GGUFValueType.ARRAY else None
        w.add_key_value(f.name, f.contents(), f.types[0], sub_type=sub)
    kinds = {}
    for t in r.tensors:
        kinds[t.tensor_type.name] = kinds.get(t.tensor_type.name, 0) + 1
        v = gguf.quants.dequantize(t.data, t.tensor_type)
        w.add_tensor(t.name, np.ascontiguousarray(v, np.float32).reshape([int(x) for x in reversed(t.shape)]))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return kinds


def llama_score(path, ids):
    m = llama_cpp.Llama(model_path=path, n_ctx=len(ids) + 8, logits_all=True, verbose=False, n_threads=2,
                        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)
    m.eval(ids)
    logits = np.array(m.scores[: len(ids)], dtype=np.float64)
    m.close()
    logits -= logits.max(-1, keepdims=True)
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return float(sum(logp[i, ids[i + 1]] for i in range(len(ids) - 1)))


TEXTS = ["Once upon a time, there was a little girl named Lily.", "  two  spaces\n\n\ttab  ", "don't we'll I'm THEY'RE",
         "3.14159 and 1,000,000", "na\u00efve caf\u00e9 \u2014 \u00fcber", "\u65e5\u672c\u8a9e \U0001f642", "x", " x", "a\nb\r\nc", "</s> <s>"]


def same_tokens(bitladder, model, path):
    """How many texts have the same ids, of how many, and the others; llama.cpp keeps spaces that SentencePiece may drop,
    and ends at a letter that has neither a piece nor bytes."""
    keys = gguf.GGUFReader(path).fields
    extra = keys.get("tokenizer.ggml.remove_extra_whitespaces")
    texts = [t for t in TEXTS if not (extra and extra.contents() and (t != t.strip() or "  " in t))]
    pieces = set(keys["tokenizer.ggml.tokens"].contents()) | {" "}
    if keys["tokenizer.ggml.model"].contents() == "llama" and "<0x00>" not in pieces:
        texts = [t for t in texts if set(t) <= pieces]
    m = llama_cpp.Llama(model_path=path, vocab_only=True, verbose=False)
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    out = subprocess.run([bitladder, "tokenize", "-", "--model", model], input=lines, check=True, capture_output=True, text=True).stdout
    ours = [json.loads(x)["ids"] for x in out.splitlines()]
    theirs = [m.tokenize(t.encode(), add_bos=False, special=False) for t in texts]
    bos = m.token_bos()
    other = [(t, a, b) for t, a, b in zip(texts, ours, theirs) if a not in (b, [bos] + b)]
    return f"{len(texts) - len(other)}/{len(texts)}", other


def main():
    a = argparse.ArgumentParser()
    a.add_argument("bitladder")
    a.add_argument("model", nargs="+")
    a.add_argument("--text")
    o = a.parse_args()
    text = open(o.text).read() if o.text else "The lighthouse keeper counted the ships that passed in the night. " * 6
    bad = 0
    print(f"{'model':32} {'texts':>6} {'tokens':>6} {'bitladder':>10} {'llama F32':>10} {'llama':>10}  types")
    for model in o.model:
        with tempfile.TemporaryDirectory() as d:
            q, f = os.path.join(d, "q.gguf"), os.path.join(d, "f.gguf")
            subprocess.run([o.bitladder, "export", model, "--format", "gguf", "-o", q], check=True, stdout=subprocess.DEVNULL)
            line = subprocess.run([o.bitladder, "score", "--model", model, "-"], input=json.dumps({"text": text}),
                                  check=True, capture_output=True, text=True).stdout
            ours = json.loads(line)
            ids = ours["ids"]
            if ours["scored"] != len(ids) - 1:  # a BOS in front is scored from
                sys.exit(f"{model}: {ours['scored']} of {len(ids)} tokens are scored")
            quantized, want = llama_score(q, ids), ours["loglikelihood"]
            try:
                kinds = decoded(q, f)
                exact = llama_score(f, ids)
                equal, other = same_tokens(o.bitladder, model, q)
                good = abs(exact - want) < 0.005 and not other
            except (NotImplementedError, ValueError) as e:
                kinds, exact, equal, other = {str(e)[:60]: 0}, float("nan"), "-", []
                good = abs(quantized / want - 1) < 1e-3
        bad += not good
        print(f"{os.path.basename(model):32} {equal:>6} {len(ids):6} {ours['loglikelihood']:10.4f} {exact:10.4f} {quantized:10.4f}  "
              + " ".join(f"{k}:{n}" for k, n in kinds.items()) + ("" if good else "  DIFFERS"), *other, sep="\n    ", flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
