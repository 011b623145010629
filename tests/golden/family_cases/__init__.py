"""The models of make_families.py, family by family."""

from . import gemma, latent, llama, mixtures, norms, other, rotary, wrapped

MODULES = [llama, gemma, norms, rotary, other, mixtures, latent, wrapped]


def cases():
    for module in MODULES:
        for family in module.FAMILIES:
            yield from family()
