"""What lm-evaluation-harness asks through a model's chat template, and how it scores it: writes harness_chat.jsonl beside
this file.

    python harness_chat.py MODEL DATA

MODEL is a directory of SmolLM2-135M-Instruct that transformers opens (its GGUF file, dequantized, with the template of
that file as chat_template); DATA the data folder. Needs lm-eval 0.4.13, torch, transformers; float32 on the CPU. A line
an item: task, item, whether its worked examples are turns of a conversation, and of every pair the beginnings of the
SHA-256 of context and continuation, log-likelihood, is_greedy. The questions themselves are not kept.
"""
import csv, gzip, hashlib, json, os, sys, tempfile
import lm_eval, torch, transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

model, data = sys.argv[1], sys.argv[2]
tasks = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")
work = tempfile.mkdtemp()


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lines(path):
    f = gzip.open(f"{data}/{path}", "rb") if path.endswith(".gz") else open(f"{data}/{path}", "rb")
    return [json.loads(x) for x in f.read().decode("utf-8").split("\n") if x.strip()]


def piqa():
    return [{**r, "label": int(g)} for r, g in zip(lines("piqa/valid.jsonl"), open(f"{data}/piqa/valid-labels.lst"))]


def arc():
    return [{"id": r["id"], "question": r["question"], "answerKey": str(r["gold"]), "choices":
             {"text": r["choices"], "label": [str(i) for i in range(len(r["choices"]))]}} for r in lines("arc/arc_easy_test.jsonl")]


def medqa():
    return [{"sent1": r["question"], **{f"ending{i}": r["options"][k] for i, k in enumerate("ABCD")},
             "label": "ABCD".index(r["answer_idx"])} for r in lines("medqa/us_4options_test.jsonl")]


def truthful():
    pick = lambda t: {"choices": list(t), "labels": list(t.values())}
    return [{"question": r["question"], "mc1_targets": pick(r["mc1_targets"]), "mc2_targets": pick(r["mc2_targets"])}
            for r in json.load(open(f"{data}/truthfulqa/mc_task.json"))]


def mmlu(split, subject):
    return [{"question": r[0], "choices": r[1:5], "answer": "ABCD".index(r[5])}
            for r in csv.reader(open(f"{data}/mmlu/{split}/{subject}_{split}.csv", encoding="utf-8", newline=""))]


def openbookqa():
    return [{"question_stem": r["question_stem"], "choices": {"text": r["choices"], "label": list("ABCD")},
             "answerKey": "ABCD"[r["gold"]]} for r in lines("openbookqa/test.jsonl")]


asked = []  # name in the harness, ours, items, file, rows, rows of worked examples


def ask(name, ours, count, file, rows, few=None):
    for suffix, part in (("test", rows[:count]), ("dev", few or [])):
        with open(f"{work}/{name}.{suffix}.jsonl", "w", encoding="utf-8") as f:
            for r in part:
                f.write(json.dumps(r) + "\n")
    files = f"    test: {work}/{name}.test.jsonl\n" + (f"    dev: {work}/{name}.dev.jsonl\n" if few else "")
    more = "num_fewshot: 5\n" if few else ""
    more += "process_docs: null\n" if name == "hellaswag" else ""
    open(f"{work}/chat_{name}.yaml", "w").write(
        f"include: {tasks}/{file}\ntask: chat_{name}\ntag: null\ndataset_path: json\ndataset_name: null\n"
        f"training_split: null\nvalidation_split: null\ntest_split: test\ndataset_kwargs:\n  data_files:\n{files}{more}")
    asked.append((name, ours))


ask("piqa", "piqa", 3, "piqa/piqa.yaml", piqa())
ask("arc_easy", "arc_easy", 3, "arc/arc_easy.yaml", arc())
ask("openbookqa", "openbookqa", 2, "openbookqa/openbookqa.yaml", openbookqa())
ask("winogrande", "winogrande:sample", 3, "winogrande/default.yaml", lines("winogrande/train_sample.jsonl"))
ask("boolq", "boolq", 2, "super_glue/boolq/default.yaml", lines("boolq/validation.jsonl.gz"))
ask("social_iqa", "social_iqa", 2, "siqa/siqa.yaml", lines("siqa/validation.jsonl"))
ask("copa", "copa", 3, "super_glue/copa/default.yaml", lines("copa/validation.jsonl"))
ask("medqa", "medqa", 1, "medqa/medqa.yaml", medqa())
ask("truthfulqa_mc1", "truthfulqa_mc1", 1, "truthfulqa/truthfulqa_mc1.yaml", truthful())
for subject in ("abstract_algebra", "world_religions"):
    ask(f"mmlu_{subject}", "mmlu", 1, f"mmlu/default/mmlu_{subject}.yaml", mmlu("test", subject), mmlu("dev", subject))
torch.manual_seed(0)
lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=1, max_length=2048)
manager = TaskManager(include_path=work, include_defaults=False)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "harness_chat.jsonl"), "w") as out:
    for name, ours in asked:
        for turns in (False, True) if ours == "mmlu" else (False,):
            r = lm_eval.simple_evaluate(lm, tasks=[f"chat_{name}"], task_manager=manager, log_samples=True, bootstrap_iters=0,
                                        apply_chat_template=True, fewshot_as_multiturn=turns)
            for s in r["samples"][f"chat_{name}"]:
                a = s["arguments"]
                a = [[v["arg_0"], v["arg_1"]] for v in a.values()] if isinstance(a, dict) else [list(x) for x in a]
                row = {"task": ours, "turns": turns, "item": s["doc_id"]}
                if ours == "mmlu":
                    row["subject"] = name[5:]
                row["pairs"] = [[sha(x[0]), sha(x[1]), round(float(v[0]), 6), str(v[1]) == "True"]
                                for x, v in zip(a, s["filtered_resps"])]
                out.write(json.dumps(row) + "\n")
print(f"lm-eval {lm_eval.__version__}, torch {torch.__version__}, transformers {transformers.__version__}")
