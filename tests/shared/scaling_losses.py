"""Losses of a grid of sizes and tokens, as scaling laws of known constants have them."""

import numpy as np

from frontpage.analysis.scaling.forms import Hoffmann, Kaplan

GRID = np.array([(n, d) for n in (25e3, 98e3, 332e3, 983e3) for d in (0.5e6, 1.5e6, 4.5e6)])
LARGER = (2.2e6, 4.5e6)
TRUTH = {  # the logarithms of constants that give losses such as those of small models
    "kaplan": np.log([2e13, 0.076, 3e8, 0.095]),
    "hoffmann": np.log([0.9, 8.0, 0.25, 60.0, 0.32]),
}
FORMS = [Kaplan(), Hoffmann()]


def losses(form, noise=0.0, seed=0):
    exact = form.log_loss(TRUTH[form.name], np.log(GRID))
    return np.exp(exact + noise * np.random.default_rng(seed).standard_normal(len(GRID)))


def exact_at(form, *sizes):
    return float(np.exp(form.log_loss(TRUTH[form.name], np.log([sizes])))[0])
