"""One golden model: random weights, what transformers computes with them, both config spellings."""

import json
import os
import shutil
import tempfile
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

TOKENS, VOCABULARY, SMALL_VOCABULARY = 40, 96, 64
# Logits may move by this much between the two spellings (they run the same operations).
SAME = 0.0
# A key that matters moves some logit by more than this.
MOVES = 1e-3
# Relative noise of weights that must not send a token to other experts.
NOISE = 2e-5

# Far larger than that of real models, so that a wrong one shows.
EPS = 0.01
EPS_KEYS = ["layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon", "rms_norm_eps"]

ABSENT = object()


@dataclass
class Case:
    """A folder to make, and what to check about it."""

    name: str
    config: dict
    # Two sequences for a family; one, and a smaller vocabulary, for a variant of it, so that the
    # files stay small.
    sequences: int = 2
    # Another one where a token lies on the edge between two experts.
    seed: int = 17
    # Standard deviation of the embedding: a small one where a small epsilon must show.
    embedding: float = 1.0
    # Suffixes of tensors that are stored as f32 beside bf16 ones.
    f32: tuple = ()
    # New names of the stored tensors.
    rename: Callable | None = None
    # Changes of config.json that must move the logits, and some that must not.
    matters: list = field(default_factory=list)
    inert: list = field(default_factory=list)
    automodel: type = AutoModelForCausalLM

    def __post_init__(self):
        if self.sequences == 1:
            self.text()["vocab_size"] = SMALL_VOCABULARY

    def text(self):
        return self.config.get("text_config", self.config)


def config(model_type, architecture, **keys):
    """A config.json as the hub has them in 2024 and 2025."""
    found = {
        "architectures": [architecture],
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 24,
        "initializer_range": 0.02,
        "intermediate_size": 20,
        "max_position_embeddings": 256,
        "model_type": model_type,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "rms_norm_eps": EPS,
        "rope_scaling": None,
        "rope_theta": 11000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }
    found.update(keys)
    return {key: found[key] for key in sorted(found) if found[key] is not ABSENT}


def is_norm(name):
    return "norm" in name or ".ln_" in name


@torch.no_grad()
def randomize(model, embedding):
    """Weights that keep activations near 1; norms 1 +- 0.3 (stored as they are, or minus 1)."""
    buffers = [(name, b) for name, b in model.named_buffers() if "correction_bias" in name]
    for name, weight in [*model.named_parameters(), *buffers]:
        if is_norm(name) and not name.endswith("bias"):
            weight.add_(torch.empty_like(weight).uniform_(-0.3, 0.3))
        elif "correction_bias" in name:
            weight.uniform_(-0.25, 0.25)
        elif name.endswith("bias"):
            weight.normal_(0.0, 0.3)
        elif "alpha_" in name:
            weight.uniform_(-1.0, 1.0)
        elif name.endswith(("embed_tokens.weight", "wte.weight", "embed_in.weight")):
            weight.normal_(0.0, embedding)
        elif ".c_" in name and "transformer.h." in name:  # gpt2 stores [inputs, outputs]
            weight.normal_(0.0, 1.2 / weight.shape[0] ** 0.5)
        else:
            weight.normal_(0.0, 1.2 / weight.shape[-1] ** 0.5)


def load(folder, case, keys=None):
    """The model of `folder` in f32, of its config.json or of `keys` in place of that file."""
    with tempfile.TemporaryDirectory() as other:
        if keys:
            os.symlink(folder.resolve() / "model.safetensors", Path(other) / "model.safetensors")
            (Path(other) / "config.json").write_text(json.dumps(keys))
        model, report = case.automodel.from_pretrained(
            other if keys else folder,
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
            output_loading_info=True,
        )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not report.get(problem), f"{case.name}: {problem}: {report[problem]}"
    return model.eval()


@torch.no_grad()
def logits(model, ids):
    return model(ids).logits.float().contiguous()


@torch.no_grad()
def golden(model, ids):
    """Logits, and per layer with a router the experts of each token (all sequences in a row)."""
    found = {"input_ids": ids}
    hooks = []
    for name, module in model.named_modules():
        if type(module).__name__.endswith(("TopKRouter", "TopkRouter")):
            layer = name.split("layers.")[1].split(".")[0]

            def keep(_module, _given, out, key=f"router.{layer}.indices"):
                assert out[-1].dtype == torch.int64 and out[-1].shape[0] == ids.numel()
                found[key] = out[-1].contiguous()

            hooks.append(module.register_forward_hook(keep))
    found["logits"] = logits(model, ids)
    for hook in hooks:
        hook.remove()
    return found


def write_model(folder, case, model):
    """model.safetensors and config.v5.json as transformers writes them; config.json as the hub."""
    dtype = getattr(torch, case.config.get("torch_dtype", "bfloat16"))
    wide = [(name, t) for name, t in model.state_dict().items() if name.endswith(case.f32)]
    exact = {place(name): t.clone() for name, t in wide}
    model.to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "config.json").rename(folder / "config.v5.json")
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(case.f32)]:
        tensors[name] = exact[place(name)].reshape(tensors[name].shape)
    if case.rename:
        tensors = {case.rename(name): tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(case.config, indent=2) + "\n")


def place(name):
    """The layer's number and the last part of a name: what both namings have in common."""
    return name.split("layers.")[1].split(".")[0], name.rsplit(".", 1)[1]


def moved(case, folder, ids, expected, change):
    keys = {key: value for key, value in {**case.config, **change}.items() if value is not ABSENT}
    return (logits(load(folder, case, keys), ids) - expected).abs().max().item()


def make(folder, case):
    """Makes the folder and proves it; returns a line about it."""
    torch.manual_seed(case.seed)
    keys = deepcopy({key: value for key, value in case.config.items() if key != "torch_dtype"})
    made = AutoConfig.for_model(**keys)
    made._attn_implementation = "eager"
    model = case.automodel.from_config(made, dtype=torch.float32).eval()
    randomize(model, case.embedding)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_model(folder, case, model)
    ids = torch.randint(3, case.text()["vocab_size"], (case.sequences, TOKENS))
    found = golden(load(folder, case), ids)
    v5 = json.loads((folder / "config.v5.json").read_text())
    difference = (logits(load(folder, case, v5), ids) - found["logits"]).abs().max().item()
    assert difference <= SAME, f"{case.name}: config.v5.json gives other logits by {difference:e}"
    check_routes(case, folder, ids, found)
    eps = [{key: 1e-6} for key in EPS_KEYS if key in case.config]
    for change in [*case.matters, *eps]:
        distance = moved(case, folder, ids, found["logits"], change)
        assert distance > MOVES, f"{case.name}: {change} moves the logits by {distance:e} only"
    for change in case.inert:
        distance = moved(case, folder, ids, found["logits"], change)
        assert distance <= SAME, f"{case.name}: {change} moves the logits by {distance:e}"
    save_file(found, folder / "golden.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)
    spread = found["logits"].std().item()
    assert 0.05 < spread < 30, f"{case.name}: standard deviation {spread}"
    size = sum(path.stat().st_size for path in folder.iterdir())
    return f"{case.name}: {size} bytes, standard deviation {spread:.2f}"


def check_routes(case, folder, ids, found):
    """The experts must be the same ones when all weights move a little: no token may lie so near
    to an edge between two experts that another order of sums could send it elsewhere."""
    routes = {key: value for key, value in found.items() if key.startswith("router.")}
    if not routes:
        return
    model = load(folder, case)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + NOISE * torch.randn_like(weight))
    again = golden(model, ids)
    for key, value in routes.items():
        same = torch.equal(value.sort(-1).values, again[key].sort(-1).values)
        assert same, f"{case.name}: {key} lies on an edge; take another seed"
