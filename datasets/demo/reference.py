#!/usr/bin/env python3
"""Measures the stored demo model: what the harness must reproduce.

Why apart from training: these numbers belong to the files as committed (bf16
weights, tokenizer, text), not to a training run, so they can be made again from
the files alone. The forward pass is f32, the sums are f64.
"""

import argparse
import hashlib
import json
import math
import sys
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

import generate
import llama

HERE = Path(__file__).resolve().parent
WINDOWS = 64
GOLDEN_SHAPE = (2, 48)
MODEL_FILES = ["model/model.safetensors", "model/config.json", "model/generation_config.json",
               "model/tokenizer.json", "model/tokenizer_config.json", "golden.safetensors"]
MARKS = "<!-- numbers begin -->\n", "<!-- numbers end -->\n"


def windows_of(ids, bos, span):
    """Non-overlapping windows [n, span + 1]: BOS, then `span` tokens; the rest is dropped."""
    count = len(ids) // span
    body = np.asarray(ids[: count * span], np.int32).reshape(count, span)
    return np.concatenate([np.full((count, 1), bos, np.int32), body], axis=1)


def score(weights, windows, dims):
    """Nats [windows, tokens - 1] in f64 of every token but the first."""
    nll = jax.jit(llama.token_nll, static_argnums=2)
    return np.concatenate([np.asarray(nll(weights, windows[i : i + 8], dims), np.float64) for i in range(0, len(windows), 8)])


def summary(nll, size_bytes=None):
    """Sums over a set of scored windows."""
    total, tokens = math.fsum(nll.ravel()), nll.size
    out = {"windows": len(nll), "scored_tokens": tokens, "nll_nats": total,
           "nats_per_token": total / tokens, "perplexity": math.exp(total / tokens)}
    if size_bytes:
        out["bits_per_byte"] = total / math.log(2) / size_bytes
    return out


def whole_stories(nll, offsets, text, story_nats):
    """Model against truth on the stories that lie whole inside one window.

    Only there does the model see all that the truth conditions on, so only there is
    the true information a floor for each story and the excess is the model's own.
    """
    span = nll.shape[1]
    flat, covered = nll.ravel(), nll.size
    starts = np.array([start for start, _ in offsets[:covered]])
    model_nats, true_nats, tokens, size, at = [], [], 0, 0, 0
    for story, nats in zip(text.split("\n\n"), story_nats):
        end = at + len(story) + 2
        first, last = np.searchsorted(starts, at), np.searchsorted(starts, end)
        if last < covered and first // span == (last - 1) // span:
            model_nats.append(math.fsum(flat[first:last]))
            true_nats.append(nats)
            tokens += int(last - first)
            size += end - at
        at = end
    model, true = math.fsum(model_nats), math.fsum(true_nats)
    bits = 1 / math.log(2) / size
    return {"stories": len(true_nats), "scored_tokens": tokens, "true_nats": true, "nll_nats": model,
            "true_nats_per_token": true / tokens, "nats_per_token": model / tokens,
            "true_bits_per_byte": true * bits, "bits_per_byte": model * bits, "excess": model / true - 1}


def golden(path, weights, windows, dims):
    """Writes the logits of a few short inputs."""
    rows, tokens = GOLDEN_SHAPE
    ids = np.ascontiguousarray(windows[:rows, :tokens])
    logits = np.asarray(llama.forward(weights, ids, dims), np.float32)
    save_file({"input_ids": ids.astype(np.int64), "logits": logits}, path)


def render(report, training):
    """The numbers as Markdown tables, for README.md."""
    first, every, whole = report["reference"], report["all_windows"], report["whole_stories"]
    rows = [
        ("whole text: true information (floor)", report["text_tokens"], report["floor_nats_per_token"], report["floor_bits_per_byte"]),
        (f"reference: first {first['windows']} windows", first["scored_tokens"], first["nats_per_token"], first["bits_per_byte"]),
        (f"all {every['windows']} windows", every["scored_tokens"], every["nats_per_token"], every["bits_per_byte"]),
        (f"{whole['stories']} stories inside a window: floor", whole["scored_tokens"], whole["true_nats_per_token"], whole["true_bits_per_byte"]),
        ("the same stories: model", whole["scored_tokens"], whole["nats_per_token"], whole["bits_per_byte"]),
    ]
    lines = ["| what | scored tokens | nats/token | perplexity | bits/byte |", "|---|--:|--:|--:|--:|"]
    lines += [f"| {what} | {tokens} | {nats:.4f} | {math.exp(nats):.4f} | {bits:.4f} |" for what, tokens, nats, bits in rows]
    lines += ["", f"Reference perplexity, {first['windows']} windows: **{first['perplexity']:.9f}** ({first['nll_nats']:.6f} nats).", ""]
    lines += ["| training | |", "|---|--:|"] + [f"| {key} | {value} |" for key, value in training.items()] + [""]
    lines += ["| file | sha256 |", "|---|---|"] + [f"| `{name}` | `{digest}` |" for name, digest in report["sha256"].items()]
    return "\n".join(lines) + "\n"


def splice(page, numbers):
    """The page with what stands between its marks replaced."""
    begin, end = MARKS
    head, rest = page.split(begin)
    return head + begin + numbers + end + rest.split(end)[1]


def sha256(path):
    """A file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(folder):
    """Writes golden.safetensors and reference.json for the model in `folder`."""
    weights, dims = llama.load(folder / "model")
    tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
    text = (HERE / "text.txt").read_text(encoding="ascii")
    encoding = tokenizer.encode(text, add_special_tokens=False)
    bos, span = tokenizer.token_to_id("<s>"), dims.window - 1
    if tokenizer.encode("One day").ids[0] != bos:
        raise ValueError("the tokenizer does not put BOS first")
    windows = windows_of(encoding.ids, bos, span)
    nll = score(weights, windows, dims)
    golden(folder / "golden.safetensors", weights, windows, dims)
    story_nats = generate.read(text)
    floor = math.fsum(story_nats)
    first = nll[:WINDOWS]
    report = {
        "protocol": f"window w = [BOS] + ids[{span}*w .. {span}*(w+1)], every token but the first scored; ids without special tokens",
        "window_tokens": dims.window,
        "bos_token_id": bos,
        "text_tokens": len(encoding.ids),
        "text_size_bytes": len(text),
        "floor_nats_per_token": floor / len(encoding.ids),
        "floor_bits_per_byte": floor / math.log(2) / len(text),
        "reference": summary(first, encoding.offsets[first.size - 1][1])
        | {"window_nll_nats": [math.fsum(row) for row in first]},
        "all_windows": summary(nll, encoding.offsets[nll.size - 1][1]),
        "whole_stories": whole_stories(nll, encoding.offsets, text, story_nats),
        "sha256": {"text.txt": sha256(HERE / "text.txt")} | {name: sha256(folder / name) for name in MODEL_FILES},
    }
    (folder / "reference.json").write_text(json.dumps(report, indent=2) + "\n")
    page = folder / "README.md"
    if page.exists():
        page.write_text(splice(page.read_text(), render(report, json.loads((folder / "training.json").read_text()))))
    print(render(report, {}), file=sys.stderr)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the stored model; write golden.safetensors, reference.json and the numbers in README.md.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder that holds model/ (default: this one)")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
