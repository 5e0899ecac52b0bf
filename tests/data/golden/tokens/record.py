"""Records ids and texts: python record.py TEXTS, with tokenizers 0.23.3 and sentencepiece 0.2.3.

TEXTS is a file of JSON lines with a "text" each; lines of tasks/data/primer/primer.txt follow. Writes, beside this file,
bpe.json (a byte-level BPE trained on primer.txt), bpe.jsonl (its ids and texts) and tok512.jsonl (those of tok512.model).
"""
import json, os, sys
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

here = os.path.dirname(os.path.abspath(__file__))
primer = os.path.join(here, "../../../../tasks/data/primer/primer.txt")
lines = [line for line in open(primer, encoding="utf-8").read().split("\n") if line]
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
texts += [line[:400] for line in lines[:12]] + ["<|begin|>a<|end|> b", "x<|end|>\n", "The <|end|>The"]

llama3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
t = Tokenizer(models.BPE())
t.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(llama3), behavior="isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
t.decoder = decoders.ByteLevel()
t.train_from_iterator(lines, trainers.BpeTrainer(
    vocab_size=640, special_tokens=[AddedToken("<|begin|>", special=True), AddedToken("<|end|>", special=True)],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
t.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
t.save(os.path.join(here, "bpe.json"), pretty=False)


def write(name, rows):
    with open(os.path.join(here, name), "w", encoding="utf-8") as f:
        for text, ids, decoded in rows:
            f.write(json.dumps({"text": text, "ids": ids, "decoded": decoded}, ensure_ascii=True) + "\n")


def bpe(text):
    ids = t.encode(text).ids
    return text, ids, t.decode(ids, skip_special_tokens=False)


sp = sentencepiece.SentencePieceProcessor(model_file=os.path.join(here, "tok512.model"))
write("bpe.jsonl", [bpe(text) for text in texts])
write("tok512.jsonl", [(text, sp.encode(text), sp.decode(sp.encode(text))) for text in texts])
