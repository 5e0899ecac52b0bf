"""How fast are prompts that begin alike continued, here and by llama.cpp?

    python llama_throughput.py BITLADDER MODEL.gguf DATA [--items N] [--rounds N] [--method rtn:w4g32a8]

MODEL is continued after the prompts of gsm8k:cot8 whose data is in DATA, at most 128 tokens each, up to "Q:". Ours is
MODEL after each METHOD, all prompts as one file of JSON lines. llama.cpp has MODEL as Q4_0 (its own conversion, with
the embedding in Q8_0 as it is here), and makes as many tokens after each prompt as ours did: the worked examples once, their cache
cells shared by all sequences, up to 32 side by side, a new prompt as soon as one has its tokens, greedy. Rounds
alternate; of each side the fastest counts. Loading the model is not in the times. Seconds of all cores are printed
beside: on a machine that does something else too they say more (threads of llama.cpp wait busily: --threads 1).

llama-cpp-python 0.3.36 is installed into a temporary environment unless it can be imported.
"""
import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
import venv

PINNED = "0.3.36"


def with_llama():
    try:
        import llama_cpp
        if llama_cpp.__version__ == PINNED:
            return
    except ImportError:
        pass
    if os.environ.get("BITLADDER_LLAMA_VENV"):
        sys.exit("llama-cpp-python %s cannot be imported from the environment made for it" % PINNED)
    with tempfile.TemporaryDirectory() as d:
        venv.create(d, with_pip=True)
        python = os.path.join(d, "bin", "python")
        subprocess.check_call([python, "-m", "pip", "install", "-q", "llama-cpp-python==" + PINNED])
        sys.exit(subprocess.call([python] + sys.argv, env=dict(os.environ, BITLADDER_LLAMA_VENV="1")))


def prompts_of(program, data, n):
    out = []
    for i in range(n):
        text = subprocess.check_output([program, "ask", "gsm8k:cot8", str(i), "--data", data, "--json"])
        out.append(json.loads(text)["steps"][0]["prompt"])
    return out


def ours(program, model, threads, prompts, new):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        for p in prompts:
            f.write(json.dumps({"prompt": p}) + "\n")
        f.flush()
        start, busy = time.monotonic(), os.times()
        out = subprocess.check_output([program, "generate", f.name, "--model", model, "--max-new", str(new), "--stop",
                                       "Q:", "--device", "cpu"], env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
        seconds, cpu = time.monotonic() - start, os.times().children_user - busy.children_user
        return seconds, cpu, [json.loads(line)["new_tokens"] for line in out.splitlines()]


class Llama:
    MOST = 32

    def __init__(self, path, threads):
        import numpy
        from llama_cpp import llama_cpp as L
        self.L, self.np = L, numpy
        L.llama_backend_init()
        L.llama_log_set(Llama.quiet, ctypes.c_void_p(0))
        self.model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
        self.vocab = L.llama_model_get_vocab(self.model)
        p = L.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = 16384, 2048, 512, Llama.MOST + 1
        p.n_threads = p.n_threads_batch = threads
        p.kv_unified = True
        self.ctx = L.llama_init_from_model(self.model, p)
        self.mem = L.llama_get_memory(self.ctx)

    def tokens(self, text):
        raw = text.encode()
        room = (self.L.llama_token * (len(raw) + 8))()
        n = self.L.llama_tokenize(self.vocab, raw, len(raw), room, len(room), True, False)
        return list(room[:n])

    def run(self, prompts, new):
        """Seconds, and of all cores, for new[i] tokens after prompts[i]."""
        L, np = self.L, self.np
        size = L.llama_vocab_n_tokens(self.vocab)
        batch = L.llama_batch_init(2048, 0, 1)
        L.llama_memory_clear(self.mem, True)
        start, busy = time.monotonic(), os.times().user
        ids = [self.tokens(p) for p in prompts]
        same = 0
        while all(len(x) > same + 1 and x[same] == ids[0][same] for x in ids):
            same += 1

        def add(token, pos, seq, wanted):
            k = batch.n_tokens
            batch.token[k], batch.pos[k], batch.n_seq_id[k] = token, pos, 1
            batch.seq_id[k][0] = seq
            batch.logits[k] = wanted
            batch.n_tokens += 1
            return k

        def decode():
            if L.llama_decode(self.ctx, batch) != 0:
                sys.exit("llama_decode failed")

        batch.n_tokens = 0
        for i in range(same):
            add(ids[0][i], i, 0, i == same - 1)
        decode()
        waiting = [i for i in range(len(ids)) if new[i] > 0]
        free, active = list(range(1, Llama.MOST + 1)), []  # of active: item, sequence, position, tokens made, next
        while waiting or active:
            batch.n_tokens = 0
            row = []
            for a in active:
                row.append(add(a[4], a[2], a[1], True))
                a[2] += 1
            while waiting and free and batch.n_tokens + len(ids[waiting[0]]) - same <= 2048:
                i, seq = waiting.pop(0), free.pop()
                L.llama_memory_seq_cp(self.mem, 0, seq, -1, -1)
                for pos in range(same, len(ids[i])):
                    k = add(ids[i][pos], pos, seq, pos == len(ids[i]) - 1)
                active.append([i, seq, len(ids[i]), 0, 0])
                row.append(k)
            decode()
            left = []
            for a, k in zip(active, row):
                logits = np.ctypeslib.as_array(L.llama_get_logits_ith(self.ctx, k), shape=(size,))
                a[4], a[3] = int(logits.argmax()), a[3] + 1
                if a[3] < new[a[0]]:
                    left.append(a)
                    continue
                L.llama_memory_seq_rm(self.mem, a[1], -1, -1)
                free.append(a[1])
            active = left
        return time.monotonic() - start, os.times().user - busy


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("model")
    p.add_argument("data")
    p.add_argument("--items", type=int, default=48)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--new", type=int, default=128)
    p.add_argument("--method", action="append")
    args = p.parse_args()
    methods = args.method or ["rtn:w4g32a8", "rtn:w4g32"]
    with_llama()
    from llama_cpp import llama_cpp as L
    Llama.quiet = L.llama_log_callback(lambda level, text, user: None)

    with tempfile.TemporaryDirectory() as d:
        q4 = os.path.join(d, "q4_0.gguf")
        how = L.llama_model_quantize_default_params()
        how.ftype, how.allow_requantize, how.nthread = 2, True, args.threads
        how.token_embedding_type = how.output_tensor_type = 8
        L.llama_log_set(Llama.quiet, ctypes.c_void_p(0))
        if L.llama_model_quantize(args.model.encode(), q4.encode(), ctypes.byref(how)) != 0:
            sys.exit("%s cannot be made Q4_0" % args.model)
        for i, m in enumerate(methods):
            subprocess.check_call([args.program, "quantize", args.model, "--method", m, "-o", os.path.join(d, str(i))],
                                  stdout=subprocess.DEVNULL)
        prompts = prompts_of(args.program, args.data, args.items)
        llama = Llama(q4, args.threads)
        print("llama.cpp: " + L.llama_print_system_info().decode(), flush=True)
        best = {}
        for _ in range(args.rounds):
            for i, m in enumerate(methods):
                variant = os.path.join(d, str(i))
                load = [min(x) for x in zip(*(ours(args.program, variant, args.threads, ["Q"], 1)[:2] for _ in range(2)))]
                *mine, new = ours(args.program, variant, args.threads, prompts, args.new)
                mine = [max(x - y, 1e-3) for x, y in zip(mine, load)]
                theirs = llama.run(prompts, new)
                print("%s: %.1f s (%.1f of all cores), llama.cpp Q4_0 %.1f s (%.1f), %d prompts, %d new tokens" %
                      (m, *mine, *theirs, len(prompts), sum(new)), flush=True)
                before = best.get(m, ([1e30] * 2, [1e30] * 2, 0))
                best[m] = ([min(x) for x in zip(before[0], mine)], [min(x) for x in zip(before[1], theirs)], sum(new))
        for m, (a, b, n) in best.items():
            print("%s: %.1f tokens/s, llama.cpp Q4_0 %.1f tokens/s, %.2f times; by seconds of all cores %.2f times" %
                  (m, n / a[0], n / b[0], b[0] / a[0], b[1] / a[1]))


main()
