"""Text models inside models of images: `text_config`, and tensors that no text needs."""

from transformers import AutoModelForImageTextToText

from .gemma import gemma3_text_keys
from .llama import ministral3_rope
from .model import ABSENT, Case, config

VISION = {
    "hidden_size": 8,
    "image_size": 8,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "patch_size": 4,
}
# What a text_config does not say, because the model around it does.
OUTER = ["architectures", "torch_dtype", "transformers_version", "tie_word_embeddings"]


def inner(keys):
    return {key: value for key, value in keys.items() if key not in OUTER}


def wrapper(model_type, architecture, text, **keys):
    return {
        "architectures": [architecture],
        "initializer_range": 0.02,
        "model_type": model_type,
        "text_config": inner(text),
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        **keys,
    }


def current(name):
    """A name as transformers 5 has it inside: everything but the head under `model`."""
    for part in ("vision_tower.", "multi_modal_projector."):
        name = f"model.{name}" if name.startswith(part) else name
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    return name.replace("language_model.model.", "model.language_model.", 1)


def hub_vision(name):
    return name.replace("vision_tower.", "vision_tower.vision_model.", 1)


def gemma3():
    text = gemma3_text_keys(
        num_hidden_layers=2, cache_implementation=ABSENT, sliding_window_pattern=2
    )
    vision = {**VISION, "model_type": "siglip_vision_model", "vision_use_head": False}
    keys = wrapper(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        text,
        boi_token_index=61,
        eoi_token_index=62,
        eos_token_id=[1, 106],
        image_token_index=2,
        mm_tokens_per_image=4,
        vision_config=vision,
    )
    yield Case(
        "gemma3", keys, automodel=AutoModelForImageTextToText, sequences=1, rename=hub_vision
    )
    yield Case(
        "gemma3-current", keys, automodel=AutoModelForImageTextToText, sequences=1, rename=current
    )


def mistral3():
    text = config(
        "ministral3",
        "",
        head_dim=16,
        num_attention_heads=3,
        num_key_value_heads=1,
        sliding_window=None,
        rope_theta=ABSENT,
        rope_scaling=ABSENT,
        rope_parameters=ministral3_rope(),
    )
    vision = {**VISION, "head_dim": 4, "model_type": "pixtral", "num_channels": 3}
    yield Case(
        "mistral3",
        wrapper(
            "mistral3",
            "Mistral3ForConditionalGeneration",
            text,
            image_token_index=2,
            multimodal_projector_bias=False,
            projector_hidden_act="gelu",
            spatial_merge_size=2,
            tie_word_embeddings=False,
            vision_config=vision,
            vision_feature_layer=-1,
        ),
        sequences=1,
        automodel=AutoModelForImageTextToText,
    )


FAMILIES = [gemma3, mistral3]
