#!/usr/bin/env python3
"""What was asked of products of packed weights on an H200, beside what was measured: tables in Markdown.

    gpu_targets.py results/published/h200 [peers.json] > tables.md

NAME-{kernels,layers,bytes,bytes-128}.md are the tables of `./quickstart gpu NAME`; `rows` of peers.json is a list of
{"shape": "28672x4096", "M": 1, "peer": "humming", "bits": 4, "us": 23.2, "vs_bf16": 2.59}: times of another library and
their ratio to cuBLAS bf16 of its run, on the same device.
"""
import json
import sys

FORMATS = {"8 bit": "int8", "4 bit": "int4", "NF4": "nf4", "3 bit": "int3", "2 bit": "int2", "1 bit": "int1"}
BITS = {"8 bit": 8, "4 bit": 4, "3 bit": 3, "2 bit": 2, "1 bit": 1}
ASKED = {  # times cuBLAS bf16, 28672x4096
    1: [1.8, 3.3, 2.9, 3.8, 5.0, 6.5],
    16: [1.75, 3.0, 2.6, 3.4, 4.2, 4.8],
    64: [1.45, 2.2, 1.9, 2.2, 2.3, 2.4],
    256: [0.95, 1.08, 1.0, 1.08, 1.1, 1.1],
    2048: [0.95] * 6,
}
OVER_PEER = {8: 1.25, 4: 1.25, 3: 1.6, 2: 1.6, 1: 1.6}
LAYERS = [  # of LLaMA-3-8B, then of LLaMA-2-7B
    ("6144x4096", "q, k, v of LLaMA-3-8B"), ("4096x4096", "o of both"), ("28672x4096", "gate, up of LLaMA-3-8B"),
    ("4096x14336", "down of LLaMA-3-8B"), ("12288x4096", "q, k, v of LLaMA-2-7B"),
    ("22016x4096", "gate, up of LLaMA-2-7B"), ("4096x11008", "down of LLaMA-2-7B"),
]
BYTES = [  # file, kernel, rows, asked
    ("bytes", "whole_fp8a8", 2048, 1.7), ("bytes", "whole_w8a8", 2048, 1.5), ("bytes", "whole_w4a8", 256, 1.4),
    ("bytes-128", "whole_w4a8", 256, 1.4),
]


def rows_of(path):
    """{(kernel, shape, rows): (microseconds from memory, times cuBLAS)} of one table."""
    got, column = {}, None
    for line in open(path, encoding="utf-8"):
        cells = [c.strip() for c in line.split("|")]
        if "kernel" in cells and column is None:
            column = cells.index("cuBLAS"), cells.index("memory us")
        elif column and len(cells) > column[0] and cells[1].endswith("_cuda"):
            at = cells[1][:-5], f"{cells[3]}x{cells[4]}", int(cells[2])
            if cells[column[1]]:  # else its copies would be too many to come from memory
                got[at] = float(cells[column[1]]), float(cells[column[0]].rstrip("x"))
    return got


def best(table, fmt, shape, rows):
    """The fastest kernel of a format: (us, ratio, family), or None."""
    found = [(us, ratio, k.split("_", 1)[0]) for (k, s, m), (us, ratio) in table.items()
             if k.split("_", 1)[1] == fmt and s == shape and m == rows]
    return min(found) if found else None


def table(head, lines):
    print("| " + " | ".join(head) + " |")
    print("|:--|" + "--:|" * (len(head) - 1))
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print()


def mark(value, asked):
    return f"**{value:.2f}**" if value >= asked - 0.005 else f"{value:.2f}"


def main():
    name = sys.argv[1]
    peers = {}
    if len(sys.argv) > 2:
        for r in json.load(open(sys.argv[2], encoding="utf-8"))["rows"]:
            peers[r["peer"], r["bits"], r["shape"], r["M"]] = r
    kernels, layers = rows_of(f"{name}-kernels.md"), rows_of(f"{name}-layers.md")

    for shape in ("28672x4096", "4096x14336"):
        print(f"{shape}, measured of asked times cuBLAS bf16 (in brackets humming):\n"
              if shape == "28672x4096" else f"{shape} (only the ratios to the peer, below, were asked for):\n")
        lines = []
        for m, asked in ASKED.items():
            line = [str(m)]
            for (what, fmt), want in zip(FORMATS.items(), asked):
                got = best(kernels, fmt, shape, m)
                peer = peers.get(("humming", BITS.get(what), shape, m))
                text = "-" if not got else mark(got[1], want) if shape == "28672x4096" else f"{got[1]:.2f}"
                if shape == "28672x4096":
                    text += f" of {want}"
                line.append(text + (f" ({peer['vs_bf16']:.2f})" if peer and peer["vs_bf16"] else ""))
            lines.append(line)
        table(["rows"] + list(FORMATS), lines)

    if peers:
        print("Its time over ours, weights from memory; 1.25 was asked at 8 and 4 bits, 1.6 below:\n")
        lines, reached, of, cells = [], 0, 0, 0
        for shape, what in LAYERS:
            for m in (1, 8, 16):
                line = [what if m == 1 else "", shape, str(m)]
                for bits, want in OVER_PEER.items():
                    got = best(kernels, f"int{bits}", shape, m) or best(layers, f"int{bits}", shape, m)
                    peer = peers.get(("humming", bits, shape, m))
                    cells += 1
                    if not got or not peer:
                        line.append("- (" + " / ".join(f"{x:.1f}" if x else "-" for x in (
                            peer and peer["us"], got and got[0])) + ")")
                        continue
                    over = peer["us"] / got[0]
                    of += 1
                    reached += over >= want - 0.005
                    line.append(f"{mark(over, want)} ({peer['us']:.1f} / {got[0]:.1f})")
                got = best(kernels, "nf4", shape, m) or best(layers, "nf4", shape, m)
                line.append(f"{got[0]:.1f} ({got[1]:.2f})" if got else "-")
                lines.append(line)
        table(["layer", "shape", "rows"] + [f"{b} bit" for b in OVER_PEER] + ["NF4"], lines)
        print(f"{reached} of {of} reached, {cells - of} of {cells} have no figure; in brackets microseconds, its and ours. "
              "NF4: ours, and how many times cuBLAS bf16.\n")

    lines = []
    for file, kernel, m, want in BYTES:
        got = rows_of(f"{name}-{file}.md")
        for shape in ("28672x4096", "4096x14336"):
            us, ratio = got.get((kernel, shape, m), (None, None))
            if us:
                lines.append([kernel, "a row" if file == "bytes" else "128", shape, str(m), f"{us:.1f}",
                              f"{mark(ratio, want)} of {want}"])
    table(["kernel", "a scale for", "shape", "rows", "us", "times cuBLAS bf16"], lines)


main()
