#!/usr/bin/env python3
"""Trains the demo's tokenizer and model on train.txt, then writes its references.

Why so: the model must be small enough to sit inside the binary and good enough that
coarse weights visibly hurt it, so it is trained close to the known floor of its
text. Training sees windows as the evaluation does: a BOS token, then 255 tokens
from anywhere in the text. Everything is seeded; another processor may still round
differently and end with slightly different weights, which is why the trained model
is committed.
"""

import argparse
import hashlib
import json
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import llama
import optimize
import reference

HERE = Path(__file__).resolve().parent
BOS = "<s>"


def train_tokenizer(path, vocab):
    """A byte-level BPE with BOS as token 0, put before every encoded text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=[BOS], initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train([str(path)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    if tokenizer.get_vocab_size() != vocab:
        raise ValueError(f"asked for {vocab} tokens, got {tokenizer.get_vocab_size()}")
    return tokenizer


def save_tokenizer(tokenizer, folder, window):
    """Writes tokenizer.json and the tokenizer_config.json that agrees with it."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": False,
        "bos_token": BOS,
        "clean_up_tokenization_spaces": False,
        "eos_token": BOS,
        "model_max_length": window,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


@partial(jax.jit, static_argnames="dims", donate_argnums=(0, 1))
def update(weights, states, windows, rates, step, dims):
    """One step on the mean loss of a batch of windows."""
    loss, grads = jax.value_and_grad(lambda w: llama.token_nll(w, windows, dims).mean())(weights)
    weights, states = optimize.step_all(weights, grads, states, rates, step)
    return weights, states, loss


def train(ids, dims, bos, args):
    """(trained weights, seconds); logs to stderr."""
    rng = np.random.default_rng(args.seed)
    weights = llama.initial(dims, args.seed)
    states = optimize.begin(weights)
    span, started, losses = dims.window - 1, time.monotonic(), []
    for step in range(args.steps):
        starts = rng.integers(0, len(ids) - span, args.batch)
        windows = np.full((args.batch, dims.window), bos, np.int32)
        windows[:, 1:] = ids[starts[:, None] + np.arange(span)]
        share = optimize.learning_share(step, args.steps)
        rates = (args.muon_rate * share, args.adam_rate * share)
        weights, states, loss = update(weights, states, windows, rates, step + 1, dims)
        losses.append(float(loss))
        if (step + 1) % 100 == 0:
            elapsed_s = time.monotonic() - started
            print(f"step {step + 1} loss {np.mean(losses[-100:]):.4f} nats/token, {elapsed_s:.0f} s", file=sys.stderr, flush=True)
    return weights, time.monotonic() - started


def parse_args():
    """The command line."""
    dims = llama.Dims()
    parser = argparse.ArgumentParser(description="Train the demo model on train.txt and write model/, golden.safetensors and reference.json.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: this one)")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2400, help="updates (default %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="windows per update (default %(default)s)")
    parser.add_argument("--muon-rate", type=float, default=0.02, help="peak rate of the projections (default %(default)s)")
    parser.add_argument("--adam-rate", type=float, default=4e-3, help="peak rate of embedding and norms (default %(default)s)")
    for name in ("vocab", "hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate"):
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=getattr(dims, name), help="(default %(default)s)")
    return parser.parse_args()


def main():
    """Trains, stores, measures."""
    args = parse_args()
    names = ("vocab", "hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate")
    dims = llama.Dims(**{name: getattr(args, name) for name in names})
    folder = args.out / "model"
    folder.mkdir(parents=True, exist_ok=True)
    text = (HERE / "train.txt").read_text(encoding="ascii")
    tokenizer = train_tokenizer(HERE / "train.txt", dims.vocab)
    save_tokenizer(tokenizer, folder, dims.window)
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)
    bos = tokenizer.token_to_id(BOS)
    weights, elapsed_s = train(ids, dims, bos, args)
    llama.save(folder, weights, dims, bos)
    log = {
        "seed": args.seed, "steps": args.steps, "batch_windows": args.batch, "muon_rate": args.muon_rate, "adam_rate": args.adam_rate,
        "train_sha256": hashlib.sha256(text.encode("ascii")).hexdigest(), "train_tokens": len(ids),
        "parameters": sum(w.size for w in weights.values()), "elapsed_s": round(elapsed_s),
    }
    (args.out / "training.json").write_text(json.dumps(log, indent=2) + "\n")
    reference.write(args.out)


if __name__ == "__main__":
    main()
