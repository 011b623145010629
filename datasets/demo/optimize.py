"""The optimizer of the demo model: Muon for the projections, AdamW for the rest.

Why two: the demo must train in minutes on a laptop's processor. Muon (Jordan et
al., 2024) moves a matrix along the nearest semi-orthogonal matrix to its momentum,
which is cheap for matrices this small; embedding and norms, which are no maps
between hidden spaces, stay with AdamW.
"""

import math

import jax
import jax.numpy as jnp

CLIP = 1.0
ADAM_BETAS, ADAM_EPS, ADAM_DECAY = (0.9, 0.98), 1e-8, 0.1
MUON_MOMENTUM, MUON_DECAY = 0.95, 0.01
# The quintic of Newton and Schulz: drives every singular value towards one.
QUINTIC, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


def learning_share(step, steps):
    """The share of the peak rate: a short linear rise, then half a cosine down to nothing."""
    rise = min(100, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def orthogonal(matrix):
    """Nearly the semi-orthogonal matrix [out, in] closest to `matrix`."""
    out, inner = matrix.shape
    x = matrix if out <= inner else matrix.T
    x = x / (jnp.linalg.norm(x) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if out <= inner else x.T


def muon(weight, grad, state, rate):
    """(weight, state) one Muon step on; the state is the momentum."""
    (momentum,) = state
    momentum = MUON_MOMENTUM * momentum + grad
    move = orthogonal(grad + MUON_MOMENTUM * momentum)
    out, inner = weight.shape
    stretch = max(1.0, out / inner) ** 0.5
    return weight * (1 - rate * MUON_DECAY) - rate * stretch * move, (momentum,)


def adamw(weight, grad, state, rate, step):
    """(weight, state) one AdamW step on; vectors, which are norms, do not decay."""
    first, second = state
    b1, b2 = ADAM_BETAS
    first = b1 * first + (1 - b1) * grad
    second = b2 * second + (1 - b2) * grad * grad
    move = first / (1 - b1**step) / (jnp.sqrt(second / (1 - b2**step)) + ADAM_EPS)
    decay = ADAM_DECAY if weight.ndim == 2 else 0.0
    return weight - rate * (move + decay * weight), (first, second)


def begin(weights):
    """The state before the first step."""
    return {name: tuple(jnp.zeros_like(w) for _ in range(1 if "_proj" in name else 2)) for name, w in weights.items()}


def step_all(weights, grads, states, rates, step):
    """(weights, states) one step on, with gradients clipped together."""
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads)))
    shrink = jnp.minimum(1.0, CLIP / norm)
    muon_rate, adam_rate = rates
    moved, kept = {}, {}
    for name, weight in weights.items():
        grad = grads[name] * shrink
        if "_proj" in name:
            moved[name], kept[name] = muon(weight, grad, states[name], muon_rate)
        else:
            moved[name], kept[name] = adamw(weight, grad, states[name], adam_rate, step)
    return moved, kept
