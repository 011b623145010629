"""Writes tiny-llama.gguf and tiny-llama.f32, the truth for reading GGUF files, and the same model split
over three files of five tensors at most.

    pip install gguf numpy safetensors && python make_gguf.py

The weights are coded by the gguf package (llama.cpp's own) and decoded again by it; q and k are
permuted as convert_hf_to_gguf.py does (LlamaModel.permute). tiny-llama.f32 is a safetensors file
with the decoded weights under Hugging Face names, in Hugging Face row order.
"""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFWriter
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

HIDDEN, MLP, HEADS, KV_HEADS, VOCABULARY = 32, 64, 4, 2, 16
HERE = Path(__file__).parent
random = np.random.default_rng(7)


def permute(weights, heads):
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def unpermute(weights, heads):
    shape = weights.shape
    return weights.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


TENSORS = [
    ("token_embd.weight", "model.embed_tokens.weight", (VOCABULARY, HIDDEN), T.Q8_0, 0),
    ("output_norm.weight", "model.norm.weight", (HIDDEN,), T.F32, 0),
    ("output.weight", "lm_head.weight", (VOCABULARY, HIDDEN), T.BF16, 0),
    ("blk.0.attn_norm.weight", "input_layernorm.weight", (HIDDEN,), T.F32, 0),
    ("blk.0.attn_q.weight", "self_attn.q_proj.weight", (HIDDEN, HIDDEN), T.Q4_0, HEADS),
    ("blk.0.attn_k.weight", "self_attn.k_proj.weight", (HIDDEN // 2, HIDDEN), T.Q4_1, KV_HEADS),
    ("blk.0.attn_v.weight", "self_attn.v_proj.weight", (HIDDEN // 2, HIDDEN), T.Q5_0, 0),
    ("blk.0.attn_output.weight", "self_attn.o_proj.weight", (HIDDEN, HIDDEN), T.Q5_1, 0),
    ("blk.0.ffn_norm.weight", "post_attention_layernorm.weight", (HIDDEN,), T.F32, 0),
    ("blk.0.ffn_gate.weight", "mlp.gate_proj.weight", (MLP, HIDDEN), T.F16, 0),
    ("blk.0.ffn_up.weight", "mlp.up_proj.weight", (MLP, HIDDEN), T.Q8_0, 0),
    ("blk.0.ffn_down.weight", "mlp.down_proj.weight", (HIDDEN, MLP), T.Q4_0, 0),
]


def describe(writer):
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCABULARY)


writers = [GGUFWriter(HERE / "tiny-llama.gguf", "llama")]
writers.append(GGUFWriter(HERE / "tiny-llama.gguf", "llama", split_max_tensors=5))
truth, tensors = {}, []
for theirs, ours, shape, kind, heads in TENSORS:
    weights = random.normal(0, 0.05, shape).astype(np.float32)
    coded = quantize(permute(weights, heads) if heads else weights, kind)
    decoded = dequantize(coded, kind).reshape(shape).astype(np.float32)
    tensors.append((theirs, coded, kind))
    name = ours if theirs[:3] in ("tok", "out") else f"model.layers.0.{ours}"
    truth[name] = np.ascontiguousarray(unpermute(decoded, heads) if heads else decoded)

for writer in writers:
    describe(writer)
    for name, coded, kind in tensors:
        writer.add_tensor(name, coded, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
save_file(truth, HERE / "tiny-llama.f32")
