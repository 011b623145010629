"""The demo's Llama in JAX, and the files it is stored in.

Why another Llama: the reference numbers beside the demo should come from code that
shares nothing with the harness they check. The semantics are those of Hugging
Face's `LlamaForCausalLM`: RMSNorm in f32, rotary positions by rotating halves,
grouped-query attention, SwiGLU, tied embeddings. Weights are kept under their
Hugging Face names, each linear one as [out, in].
"""

import json
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

jax.config.update("jax_default_matmul_precision", "highest")


@dataclass(frozen=True)
class Dims:
    """The numbers that make the architecture."""

    vocab: int = 768
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 384
    window: int = 256
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    def config(self, bos):
        """The same numbers as a Hugging Face config.json."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": bos,
            "eos_token_id": bos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate,
            "max_position_embeddings": self.window,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": self.norm_eps,
            "rope_scaling": None,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "vocab_size": self.vocab,
        }

    @staticmethod
    def from_config(config):
        """Reads a config.json back."""
        return Dims(
            vocab=config["vocab_size"],
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            head_dim=config["head_dim"],
            intermediate=config["intermediate_size"],
            window=config["max_position_embeddings"],
            rope_theta=config["rope_theta"],
            norm_eps=config["rms_norm_eps"],
        )

    def shapes(self):
        """Every weight's name and shape."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes = {"model.embed_tokens.weight": (self.vocab, self.hidden), "model.norm.weight": (self.hidden,)}
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            shapes |= {
                at + "input_layernorm.weight": (self.hidden,),
                at + "self_attn.q_proj.weight": (q, self.hidden),
                at + "self_attn.k_proj.weight": (kv, self.hidden),
                at + "self_attn.v_proj.weight": (kv, self.hidden),
                at + "self_attn.o_proj.weight": (self.hidden, q),
                at + "post_attention_layernorm.weight": (self.hidden,),
                at + "mlp.gate_proj.weight": (self.intermediate, self.hidden),
                at + "mlp.up_proj.weight": (self.intermediate, self.hidden),
                at + "mlp.down_proj.weight": (self.hidden, self.intermediate),
            }
        return shapes


def rms_norm(x, weight, eps):
    """x [tokens, hidden] scaled to unit root mean square, times weight [hidden]."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotate(x, theta):
    """Rotary positions on x [batch, seq, heads, dim]: pairs are (i, i + dim/2)."""
    _, seq, _, dim = x.shape
    frequencies = theta ** (-jnp.arange(0, dim, 2, dtype=jnp.float32) / dim)
    angles = jnp.arange(seq, dtype=jnp.float32)[:, None] * frequencies
    cos, sin = jnp.cos(angles)[:, None, :], jnp.sin(angles)[:, None, :]
    low, high = x[..., : dim // 2], x[..., dim // 2 :]
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def attention(weights, at, x, dims, seq):
    """Causal grouped-query attention over x [batch * seq, hidden]."""
    dim, kv, groups = dims.head_dim, dims.kv_heads, dims.heads // dims.kv_heads
    q, k, v = ((x @ weights[f"{at}{name}_proj.weight"].T).reshape(-1, seq, heads, dim) for name, heads in (("q", dims.heads), ("k", kv), ("v", kv)))
    q, k, v = (heads.transpose(0, 2, 1, 3) for heads in (rotate(q, dims.rope_theta), rotate(k, dims.rope_theta), v))
    # The query heads of one group stand below each other: one product per key head.
    q = q.reshape(-1, kv, groups * seq, dim) * dim**-0.5
    scores = (q @ k.swapaxes(2, 3)).reshape(-1, kv, groups, seq, seq)
    scores = jnp.where(jnp.tril(jnp.ones((seq, seq), bool)), scores, -1e30)
    shares = jax.nn.softmax(scores, axis=-1).reshape(-1, kv, groups * seq, seq)
    mixed = (shares @ v).reshape(-1, dims.heads, seq, dim).transpose(0, 2, 1, 3)
    return mixed.reshape(x.shape[0], -1) @ weights[at + "o_proj.weight"].T


def mlp(weights, at, x):
    """SwiGLU over x [tokens, hidden]."""
    gate = jax.nn.silu(x @ weights[at + "gate_proj.weight"].T)
    return (gate * (x @ weights[at + "up_proj.weight"].T)) @ weights[at + "down_proj.weight"].T


def forward(weights, ids, dims):
    """Logits [batch, seq, vocab] for ids [batch, seq]."""
    batch, seq = ids.shape
    x = weights["model.embed_tokens.weight"][ids.ravel()]
    for layer in range(dims.layers):
        at = f"model.layers.{layer}."
        normed = rms_norm(x, weights[at + "input_layernorm.weight"], dims.norm_eps)
        x = x + attention(weights, at + "self_attn.", normed, dims, seq)
        normed = rms_norm(x, weights[at + "post_attention_layernorm.weight"], dims.norm_eps)
        x = x + mlp(weights, at + "mlp.", normed)
    x = rms_norm(x, weights["model.norm.weight"], dims.norm_eps)
    return (x @ weights["model.embed_tokens.weight"].T).reshape(batch, seq, -1)


def token_nll(weights, windows, dims):
    """Nats [batch, seq - 1] of every token but the first of windows [batch, seq]."""
    logits = forward(weights, windows[:, :-1], dims)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(log_p, windows[:, 1:, None], axis=-1)[..., 0]


def initial(dims, seed):
    """Seeded starting weights; the projections into the residual stream start smaller."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in dims.shapes().items():
        if "norm" in name:
            weights[name] = jnp.ones(shape, jnp.float32)
            continue
        depth = (2 * dims.layers) ** -0.5 if "o_proj" in name or "down_proj" in name else 1.0
        std = 0.05 if "embed" in name else depth * shape[1] ** -0.5
        weights[name] = jnp.asarray(rng.normal(0.0, std, shape).astype(np.float32))
    return weights


def save(folder, weights, dims, bos):
    """Writes model.safetensors (rounded to bf16), config.json and generation_config.json."""
    stored = {name: np.asarray(w).astype(ml_dtypes.bfloat16) for name, w in weights.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    generation = {"bos_token_id": bos, "eos_token_id": bos, "do_sample": False, "max_length": dims.window}
    for name, content in (("config.json", dims.config(bos)), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def load(folder):
    """(weights in f32, dims) of a stored model."""
    dims = Dims.from_config(json.loads((folder / "config.json").read_text()))
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        weights = {name: jnp.asarray(file.get_tensor(name).astype(np.float32)) for name in file.keys()}
    if {name: w.shape for name, w in weights.items()} != dims.shapes():
        raise ValueError(f"{folder}: tensors and config.json disagree")
    return weights, dims
