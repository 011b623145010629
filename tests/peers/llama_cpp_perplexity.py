#!/usr/bin/env python3
"""Scores a text by llama.cpp, on a GGUF file whose weights it first decodes to F32.

    llama_cpp_perplexity.py MODEL.gguf TEXT WINDOWS OUT.json      needs llama-cpp-python, numpy

Decoded weights, F32 caches and no flash attention leave nothing that rounds but F32 sums: with the weights
as they are stored llama.cpp rounds the inputs of every product to 8 bits. Windows and scored tokens are
those of llama.cpp's own `perplexity` tool: 512 tokens, the first replaced by BOS, the last 255 scored.
"""

import ctypes
import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np

WINDOW_TOKENS = 512
FIRST_SCORED = WINDOW_TOKENS // 2
THREADS = 2
ALL_F32 = 0  # LLAMA_FTYPE_ALL_F32 and GGML_TYPE_F32


def decode(model, out):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = params.output_tensor_type = params.token_embedding_type = ALL_F32
    params.allow_requantize = params.pure = True
    params.nthread = THREADS
    if code := llama_cpp.llama_model_quantize(str(model).encode(), str(out).encode(), ctypes.byref(params)):
        sys.exit(f"{model}: llama_model_quantize ended with {code}")


def opened(path):
    """The model, its vocabulary and a context for one window."""
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_load_model_from_file(str(path).encode(), params)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = WINDOW_TOKENS
    params.n_threads = params.n_threads_batch = THREADS
    params.type_k = params.type_v = ALL_F32
    params.flash_attn_type = 0  # disabled
    return model, llama_cpp.llama_model_get_vocab(model), llama_cpp.llama_new_context_with_model(model, params)


def windows(vocabulary, text, limit):
    buffer = (llama_cpp.llama_token * (len(text) + 8))()
    found = llama_cpp.llama_tokenize(vocabulary, text, len(text), buffer, len(buffer), False, False)
    ids = list(buffer[:found])
    bos = []
    if llama_cpp.llama_vocab_get_add_bos(vocabulary):
        bos = [llama_cpp.llama_vocab_bos(vocabulary)]
    ids = bos + ids
    whole = min(limit, len(ids) // WINDOW_TOKENS)
    if whole < limit:
        sys.exit(f"expected {limit} windows of {WINDOW_TOKENS} tokens, but the text has {whole}")
    cut = [ids[index * WINDOW_TOKENS : (index + 1) * WINDOW_TOKENS] for index in range(whole)]
    return [bos + window[len(bos) :] for window in cut]


def nats(context, vocabulary, window):
    """The sum over the scored tokens of one window, in f64."""
    batch = llama_cpp.llama_batch_init(WINDOW_TOKENS, 0, 1)
    batch.n_tokens = WINDOW_TOKENS
    for position, token in enumerate(window):
        batch.token[position], batch.pos[position] = token, position
        batch.n_seq_id[position], batch.seq_id[position][0] = 1, 0
        batch.logits[position] = position >= FIRST_SCORED
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    if code := llama_cpp.llama_decode(context, batch):
        sys.exit(f"llama_decode ended with {code}")
    total = 0.0
    for position in range(FIRST_SCORED, WINDOW_TOKENS - 1):
        row = llama_cpp.llama_get_logits_ith(context, position)
        size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        row = np.ctypeslib.as_array(row, shape=(size,)).astype(np.float64)
        highest = row.max()
        total += highest + math.log(np.exp(row - highest).sum()) - row[window[position + 1]]
    llama_cpp.llama_batch_free(batch)
    return float(total)


def main():
    model, text, limit, out = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        decoded = Path(folder) / "f32.gguf"
        decode(model, decoded)
        _, vocabulary, context = opened(decoded)
        found = [nats(context, vocabulary, window) for window in windows(vocabulary, text.read_bytes(), limit)]
    scored = WINDOW_TOKENS - 1 - FIRST_SCORED
    facts = {
        "made_by": "tests/peers/llama_cpp_perplexity.py",
        "llama_cpp_python": llama_cpp.__version__,
        "numpy": np.__version__,
        "cpu": llama_cpp.llama_print_system_info().decode().strip(" |"),
        "settings": "weights decoded to F32, F32 caches, no flash attention",
        "model": model.name,
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "text": text.as_posix(),
        "text_sha256": hashlib.sha256(text.read_bytes()).hexdigest(),
        "window_tokens": WINDOW_TOKENS,
        "scored_tokens_per_window": scored,
        "perplexity": math.exp(sum(found) / (scored * len(found))),
        "window_nll_nats": found,
    }
    out.write_text(json.dumps(facts, indent=1) + "\n")


main()
