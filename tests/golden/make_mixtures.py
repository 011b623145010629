"""Makes small random mixtures of experts with transformers, and what it computes with them in f32.

    pip install torch transformers safetensors
    python make_mixtures.py --out DIR --seeds 11 12 13

Per seed and family a folder DIR/<family>-<seed>: config.json and model.safetensors as transformers
writes them, and golden.safetensors with input_ids [1, 48], logits [1, 48, vocabulary] and, for each
layer, router.<layer>.indices [48, 2], the experts that each token went to.

The committed folders are those of `--out mixtures --seeds 4`. Odd seeds make three layers instead
of two.

MXFP4 weights are packed here: E2M1 codes, two in a byte, the lower nibble first, under one E8M0
scale per 32. transformers computes with the values that they stand for, in a model that is not
quantized.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, GptOssForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

TOKENS, VOCABULARY, HIDDEN, EXPERTS, TOP = 48, 64, 64, 8, 2
FAMILIES = ["gpt-oss", "gpt-oss-mxfp4", "qwen3-moe", "qwen3-moe-norm"]
E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
PACKED = ["gate_up_proj", "down_proj"]


def gpt_oss(layers, seed):
    # A low limit, so that the clamp of gate and up is met often; a window far shorter than the text.
    config = GptOssConfig(
        num_hidden_layers=layers, hidden_size=HIDDEN, intermediate_size=32, vocab_size=VOCABULARY,
        num_local_experts=EXPERTS, num_experts_per_tok=TOP, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, sliding_window=7 + seed % 5, swiglu_limit=1.25,
    )
    config._attn_implementation = "eager"
    return GptOssForCausalLM(config)


def qwen3_moe(layers, normalize):
    config = Qwen3MoeConfig(
        num_hidden_layers=layers, hidden_size=HIDDEN, intermediate_size=96, vocab_size=VOCABULARY,
        moe_intermediate_size=24 if normalize else 16, num_experts=EXPERTS,
        num_experts_per_tok=TOP, num_attention_heads=2, num_key_value_heads=1, head_dim=128,
        norm_topk_prob=normalize, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    config._attn_implementation = "eager"
    return Qwen3MoeForCausalLM(config)


@torch.no_grad()
def randomize(model):
    """Weights that keep activations near 1, biases and sinks included; all of them bf16 values."""
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.normal_(1.0, 0.2)
        elif name.endswith(("bias", "sinks")):
            weight.normal_(0.0, 0.5)
        elif "embed_tokens" in name:
            weight.normal_(0.0, 1.0)
        else:
            weight.normal_(0.0, 1.5 / weight.shape[-1] ** 0.5)
        weight.copy_(weight.bfloat16().float())


def pack_mxfp4(weights):
    """Blocks, scales and the values they stand for, of `weights` [..., in]."""
    blocks = weights.unflatten(-1, (-1, 32))
    # Blocks of very different size, so that the scales differ.
    blocks = blocks * 2.0 ** torch.randint(-4, 2, (*blocks.shape[:-1], 1))
    largest = blocks.abs().amax(-1, keepdim=True)
    exponent = torch.floor(torch.log2(largest)) - 2
    scaled = blocks / 2.0**exponent
    code = (scaled.abs().unsqueeze(-1) - E2M1).abs().argmin(-1)
    values = torch.where(scaled < 0, -E2M1[code], E2M1[code]) * 2.0**exponent
    code = code + 8 * (scaled < 0)
    packed = (code[..., 0::2] | code[..., 1::2] << 4).to(torch.uint8)
    scales = (exponent.squeeze(-1) + 127).to(torch.uint8)
    return packed.contiguous(), scales.contiguous(), values.flatten(-2)


@torch.no_grad()
def quantize_experts(model):
    """Sets every expert's weights to MXFP4 values; returns the packed tensors."""
    packed = {}
    for layer, block in enumerate(model.model.layers):
        for name in PACKED:
            weight = getattr(block.mlp.experts, name)
            blocks, scales, values = pack_mxfp4(weight.transpose(-1, -2).contiguous())
            weight.copy_(values.transpose(-1, -2))
            prefix = f"model.layers.{layer}.mlp.experts.{name}"
            packed[f"{prefix}_blocks"], packed[f"{prefix}_scales"] = blocks, scales
    return packed


@torch.no_grad()
def golden(model):
    routing = []
    for block in model.model.layers:
        router = getattr(block.mlp, "router", None) or block.mlp.gate
        router.register_forward_hook(lambda _module, _given, out: routing.append(out[-1]))
    ids = torch.randint(0, VOCABULARY, (1, TOKENS))
    found = {"input_ids": ids, "logits": model(ids).logits.contiguous()}
    for layer, indices in enumerate(routing):
        assert indices.shape == (TOKENS, TOP) and indices.dtype == torch.int64
        found[f"router.{layer}.indices"] = indices.contiguous()
    return found


def write_mxfp4(folder, packed):
    """Puts packed tensors in place of the experts that transformers wrote."""
    tensors = load_file(folder / "model.safetensors")
    plain = tuple(f".experts.{name}" for name in PACKED)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(plain)}
    save_file({**tensors, **packed}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
        ],
        "quant_method": "mxfp4",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def make(folder, family, seed):
    torch.manual_seed(1000 * seed + FAMILIES.index(family))
    layers = 2 + seed % 2
    if family.startswith("gpt-oss"):
        model = gpt_oss(layers, seed)
    else:
        model = qwen3_moe(layers, family.endswith("norm"))
    model.eval().float()
    randomize(model)
    packed = quantize_experts(model) if family.endswith("mxfp4") else None
    found = golden(model)
    shutil.rmtree(folder, ignore_errors=True)
    model.bfloat16().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if packed:
        write_mxfp4(folder, packed)
    save_file(found, folder / "golden.safetensors")
    spread = found["logits"].std().item()
    print(f"{folder}: {layers} layers, standard deviation of the logits {spread:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--family", choices=FAMILIES, nargs="+", default=FAMILIES)
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for family in arguments.family:
            make(arguments.out / f"{family}-{seed}", family, seed)


if __name__ == "__main__":
    main()
