#!/bin/bash
# An added token with "normalized": true under a normalizer that prepends the mark of a word's start.
#
# A good guess: a special token is found wherever its text stands; "normalized" only says whether the token's own text
# is normalized before it is looked for.
# Seen (tokenizers 0.23.3): the token's text is normalized too, and so gets the mark "▁" in front. It is then found only
# where the normalized text has the mark: at the very start, or after a space, which it swallows. In the middle of a
# text it falls apart into characters. With "normalized": false it is found everywhere. Files of the LLaMA-2 kind with
# such tokens exist, and a reader that finds the token everywhere gives other ids than the library.
#
#   text          normalized: true                      normalized: false
#   [INST]a       ▁[INST] a                             [INST] ▁ a
#   a[INST]b      ▁ a [ I N S T ] b                     ▁ a [INST] ▁ b
#   a [INST]b     ▁ a ▁[INST] b                         ▁ a ▁ [INST] ▁ b
#
# Needs python3 with venv and the network. Exit 0: still so. Exit 1: it has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check tokenizers==0.23.3
"$dir/venv/bin/python" - <<'PY'
import sys

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers

print("tokenizers", tokenizers.__version__)
vocab = {c: i for i, c in enumerate(["<unk>", "▁", *"ab[INST]"])}
vocab["[INST]"] = max(vocab.values()) + 1


def cut(text, normalized):
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.add_special_tokens([AddedToken("[INST]", special=True, normalized=normalized)])
    return made.encode(text).tokens


expected = {
    "[INST]a": (["▁[INST]", "a"], ["[INST]", "▁", "a"]),
    "a[INST]b": (["▁", "a", *"[INST]", "b"], ["▁", "a", "[INST]", "▁", "b"]),
    "a [INST]b": (["▁", "a", "▁[INST]", "b"], ["▁", "a", "▁", "[INST]", "▁", "b"]),
}
same = True
for text, pair in expected.items():
    seen = (cut(text, True), cut(text, False))
    print(f"{text:12} true: {' '.join(seen[0]):26} false: {' '.join(seen[1])}")
    same = same and seen == pair
print("as described" if same else "CHANGED: read the head of this script")
sys.exit(not same)
PY
