#!/usr/bin/env python3
"""A tiny random BERT with its tokenizer, and the vectors that transformers makes of texts with it, and with
all-MiniLM-L6-v2: the mean of the last hidden states over the attention mask, of unit length, as its model card has it.

    python record.py DIR [MINILM]     torch, transformers 5.24, tokenizers 0.23; MINILM: directory of all-MiniLM-L6-v2

writes config.json, model.safetensors, tokenizer.json, vocab.txt, sentence_bert_config.json, tiny.json and minilm.json.
"""
import json, os, sys
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

out = sys.argv[1]
WORDS = """the cat sat on mat a red plan ##et un ##seen word ##s , . ? ! ' - cafe naive uber stras ##se 中 文 字 i istanbul
 b c d e f g h ##a ##b ##c ##d ##e ##f ##g ##h ##i ##n ##t ##u ##l 1 2 3 ##1 ##2 ##3 $ ( ) é is what where how many moons
 has mars two water boil ##s at sea level ing ##ing run ##ning""".split()
TEXTS = [
    "The cat sat on the mat.", "How many moons has Mars?", "", "Unseen words, 123 - (plans)!",
    "Café naïve Über Straßse ÉE\u0301", "中文字 cat中cat", "tab\tnew\nline\u2028sep\u00a0nbsp\u200bzero\u00adsoftnul",
    "İstanbul is where water boils", "xyz quux ☃ \U0001F600 cat", "$12.3 isn't 'what' `a`", "a" * 101 + " cat",
    "running runs runing planet planets " * 12, "a cat\ufffd cat\ue000s \u3000 sat",
]
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
vocab = special + [w for i, w in enumerate(WORDS) if w not in WORDS[:i]]

open(os.path.join(out, "vocab.txt"), "w").write("".join(w + "\n" for w in vocab))
tok = BertWordPieceTokenizer(os.path.join(out, "vocab.txt"), lowercase=True)
tok.save(os.path.join(out, "tokenizer.json"))
json.dump({"max_seq_length": 40, "do_lower_case": False}, open(os.path.join(out, "sentence_bert_config.json"), "w"))
torch.manual_seed(7)
config = BertConfig(vocab_size=len(vocab), hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                    intermediate_size=40, max_position_embeddings=48, initializer_range=0.3)
model = BertModel(config, add_pooling_layer=False).eval()
for name, p in model.named_parameters():        # norms and biases that are not 1 and 0
    if p.ndim == 1:
        p.data += 0.2 * torch.randn_like(p)
model.save_pretrained(out)


def vectors(model, ids):
    rows = []
    with torch.no_grad():
        for one in ids:
            h = model(input_ids=torch.tensor([one]), attention_mask=torch.ones(1, len(one))).last_hidden_state[0]
            rows.append(torch.nn.functional.normalize(h.double().mean(0), dim=0).tolist())
    return rows


def write(name, tok, texts, ids, rows):
    with open(os.path.join(out, name), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps({"text": t, "ids": i, "decoded": tok.decode(i),
                                               "vector": [round(v, 8) for v in r]}) for t, i, r in zip(texts, ids, rows)) + "\n]\n")


def ids_of(tok, texts, longest):
    tok.enable_truncation(longest)
    tok.no_padding()
    return [tok.encode(t).ids for t in texts]


ids = ids_of(tok, TEXTS, 40)
write("tiny.json", tok, TEXTS, ids, vectors(model, ids))
if len(sys.argv) > 2:
    from tokenizers import Tokenizer
    some = TEXTS[:5] + [TEXTS[7], TEXTS[8], "What is the largest planet of the solar system?",
                        "Jupiter is the largest planet of our solar system; it is a gas giant. " * 24]
    tok = Tokenizer.from_file(os.path.join(sys.argv[2], "tokenizer.json"))
    ids = ids_of(tok, some, 256)
    write("minilm.json", tok, some, ids, vectors(AutoModel.from_pretrained(sys.argv[2]).eval(), ids))
