#!/usr/bin/env python3
"""Holds runs of evalkit on real models against what other programs computed.

    real_models.py llama-cpp GOLDEN MODEL TEXT REPORTS     against llama_cpp_perplexity.py's file
    real_models.py same GOLDEN NEW                         two files of llama_cpp_perplexity.py
    real_models.py transformers FILE MODEL TEXT REPORTS    against transformers' perplexities in FILE
    real_models.py bits REPORTS                            fewer bits are further from the reference

REPORTS is a folder with one run. A first difference ends the program with 1.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

# Bounds on relative differences. llama.cpp's F32 products differ from evalkit's in the order of their
# sums; 2e-5 of a window's nats was seen.
LLAMA_CPP_PERPLEXITY = 5e-4
LLAMA_CPP_WINDOW = 2e-4
# llama.cpp on another processor.
SAME_WINDOW = 5e-5
# Half of the fifth significant digit.
TRANSFORMERS_PERPLEXITY = 5e-6
TRANSFORMERS_WINDOW = 1e-5
# There the reference rounded decoded weights to f16, which evalkit does not.
ROUNDED = {"smollm2-135m-q4ref": (2e-4, 2e-3)}


def close(found, expected, bound, what):
    off = abs(found / expected - 1.0)
    if not off <= bound:
        sys.exit(f"{what}: found {found:.8g}, expected {expected:.8g}: off by {off:.1e}, at most {bound:.0e} is right")
    return off


def equal(found, expected, what):
    if found != expected:
        sys.exit(f"{what}: found {found}, expected {expected}")


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def cells(reports):
    """The run's head, and the windows of every variant that the run in a folder has."""
    files = list(Path(reports).glob("*/records.jsonl"))
    equal(len(files), 1, f"runs in {reports}")
    records = [json.loads(line) for line in files[0].read_text().splitlines()]
    run = next(record for record in records if record["kind"] == "run")
    names = {record["cell_id"]: record["variant"] for record in records if record["kind"] == "cell"}
    windows = {name: [] for name in names.values()}
    for record in records:
        if record["kind"] == "window":
            windows[names[record["cell_id"]]].append(record)
    for found in windows.values():
        found.sort(key=lambda record: record["window"])
        equal([record["window"] for record in found], list(range(run["windows"])), "windows")
    return run, windows


def compare(windows, expected, bounds, what):
    """Every window's nats, and the perplexity of all; returns the latter and the largest differences."""
    worst = max(
        close(window["nll_nats"], nats, bounds[1], f"{what}, window {window['window']}")
        for window, nats in zip(windows, expected, strict=True)
    )
    scored = sum(window["scored_tokens"] for window in windows)
    found = math.exp(sum(window["nll_nats"] for window in windows) / scored)
    off = close(found, math.exp(sum(expected) / scored), bounds[0], f"{what}, perplexity")
    print(f"{what}: {len(windows)} windows, perplexity {found:.7g}, off by {off:.1e}, a window's nats by {worst:.1e}")
    return found


def llama_cpp(golden, model, text, reports):
    known = json.loads(Path(golden).read_text())
    equal(sha256(model), known["model_sha256"], f"SHA-256 of {model}")
    equal(sha256(text), known["text_sha256"], f"SHA-256 of {text}")
    run, windows = cells(reports)
    windows = windows["fp"]
    equal((run["protocol"], run["window_tokens"]), ("llama.cpp", known["window_tokens"]), "protocol")
    for window in windows:
        equal(window["scored_tokens"], known["scored_tokens_per_window"], "scored tokens")
    expected = known["window_nll_nats"][: len(windows)]
    bounds = (LLAMA_CPP_PERPLEXITY, LLAMA_CPP_WINDOW)
    compare(windows, expected, bounds, f"{run['model']} against llama.cpp in F32")


def same(golden, new):
    known, found = (json.loads(Path(path).read_text()) for path in (golden, new))
    for key in ("model_sha256", "text_sha256", "window_tokens", "scored_tokens_per_window"):
        equal(found[key], known[key], f"{new}: {key}")
    pairs = zip(found["window_nll_nats"], known["window_nll_nats"], strict=True)
    worst = max(close(*pair, SAME_WINDOW, f"llama.cpp, window {index}") for index, pair in enumerate(pairs))
    print(f"llama.cpp against its golden file: a window's nats are off by at most {worst:.1e}")


def transformers(file, model, text, reports):
    known = json.loads(Path(file).read_text())["models"][model]["datasets"][text]
    run, windows = cells(reports)
    windows = windows["fp"]
    metric = {"full": "all", "llama.cpp": "second_half"}[run["protocol"]]
    known = known["runs"][run["bos"]]
    expected = known[f"window_nll_{metric}"]
    bounds = ROUNDED.get(model, (TRANSFORMERS_PERPLEXITY, TRANSFORMERS_WINDOW))
    what = f"{model} on {text} ({metric}) against transformers"
    for window in windows:
        equal(window["scored_tokens"], known[metric]["scored_tokens"] // len(expected), "scored tokens")
    found = compare(windows, expected[: len(windows)], bounds, what)
    if len(windows) == len(expected):
        close(found, known[metric]["ppl"], bounds[0], f"{what}, perplexity")


def bits(reports):
    run, windows = cells(reports)
    kl_nats = {}
    for name, found in windows.items():
        scored = sum(window["scored_tokens"] for window in found)
        kl_nats[name] = sum(window["kl_nats"] for window in found) / scored
    palettes = sorted(name for name in kl_nats if name.startswith("palette"))
    equal(len(palettes), 2, f"palettes in {reports}")
    fewer, more = palettes
    if not 0.0 < kl_nats[more] < kl_nats[fewer]:
        sys.exit(f"{run['model']}: KL of {more} is {kl_nats[more]}, of {fewer} {kl_nats[fewer]}")
    print(f"{run['model']}: KL {kl_nats[more]:.4g} nats for {more}, {kl_nats[fewer]:.4g} for {fewer}")


CHECKS = {"llama-cpp": llama_cpp, "same": same, "transformers": transformers, "bits": bits}
CHECKS[sys.argv[1]](*sys.argv[2:])
