#!/bin/bash
# transformers 5 and the class named in tokenizer_config.json.
#
# A good guess: AutoTokenizer cuts a text as the tokenizer.json beside the weights says.
# Seen (transformers 5.24.0, tokenizers 0.23.3): where tokenizer_class is GPT2Tokenizer, the pre-tokenizer of the file
# is dropped and a plain ByteLevel one takes its place, without a word. A file that keeps digits apart, as those of the
# SmolLM family do, then gives other ids for every number. save_pretrained writes the loss into the new file. With
# PreTrainedTokenizerFast as the class the file is followed.
# So: references are recorded with the file itself (tokenizers, or PreTrainedTokenizerFast), never with AutoTokenizer.
#
#   "1234" by the file      1 2 3 4
#   by AutoTokenizer        12 34
#
# Needs python3 with venv and the network. Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check transformers==5.24.0 tokenizers==0.23.3
"$dir/venv/bin/python" - "$dir" <<'PY'
import json, os, sys

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
for token in ("12", "34", "<|endoftext|>"):
    vocab[token] = len(vocab)
made = Tokenizer(models.BPE(vocab=vocab, merges=[("1", "2"), ("3", "4")]))
made.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
made.add_special_tokens(["<|endoftext|>"])
by_file = made.encode("1234").tokens

seen = {}
for name in ("GPT2Tokenizer", "PreTrainedTokenizerFast"):
    folder = os.path.join(sys.argv[1], name)
    os.mkdir(folder)
    made.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": name, "eos_token": "<|endoftext|>"}, f)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump({"model_type": "llama"}, f)
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    loaded.save_pretrained(folder + "-saved")
    with open(os.path.join(folder + "-saved", "tokenizer.json")) as f:
        kept = json.load(f)["pre_tokenizer"]["type"]
    seen[name] = (loaded.tokenize("1234"), kept)
    print(f"{name:24} {seen[name][0]}  saved with pre-tokenizer {kept}")
print(f"{'the file itself':24} {by_file}")

same = (by_file == list("1234") and seen["GPT2Tokenizer"] == (["12", "34"], "ByteLevel")
        and seen["PreTrainedTokenizerFast"] == (list("1234"), "Sequence"))
print("as described" if same else "CHANGED: read the head of this script")
sys.exit(not same)
PY
