"""Makes calibrated.json: targets and feedback of calibrated coding, computed with numpy.

    python3 tests/golden/make_calibrated.py

The target is the closed form with an explicit inverse. The feedback is that of the published
algorithm: the upper Cholesky factor of the inverse of the damped moments, each row divided by its
diagonal; evalkit gets it without an inverse, as errors fed back to original weights.
"""

import json
import pathlib

import numpy as np

random = np.random.default_rng(7)
OUT, IN, TOKENS = 3, 5, 40

reference = random.normal(size=(TOKENS, IN)) * np.array([1.0, 3.0, 0.5, 2.0, 1.0])
seen = reference + 0.2 * random.normal(size=(TOKENS, IN))
weights = random.normal(size=(OUT, IN)).astype(np.float32).astype(np.float64)
own = seen.T @ seen / TOKENS
cross = reference.T @ seen / TOKENS
residual = random.normal(size=(OUT, TOKENS)) @ seen / TOKENS


def target(repair):
    ridge = 0.3 * np.mean(np.diag(own))
    wanted = weights @ cross + repair + ridge * weights
    return wanted @ np.linalg.inv(own + ridge * np.eye(IN))


def feedback(order):
    moments = own + 0.05 * np.mean(np.diag(own)) * np.eye(IN)
    inverse = np.linalg.inv(moments[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    unit = upper / np.diag(upper)[:, None]
    # Updates of remaining weights, w -= e · unit, told of original errors q - w instead.
    return np.triu(np.linalg.inv(unit), 1) * -1.0


order = np.argsort(-np.diag(own))
golden = {
    "weights": weights,
    "own": own,
    "cross": cross,
    "residual": residual,
    "target": target(0.0),
    "repaired": target(residual),
    "order": order.astype(float),
    "feedback": feedback(order),
}
path = pathlib.Path(__file__).with_name("calibrated.json")
lists = {name: np.asarray(value).ravel().tolist() for name, value in golden.items()}
path.write_text(json.dumps(lists, indent=1) + "\n")
