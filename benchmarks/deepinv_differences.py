"""What a comparison with the library deepinv has to know: differences, and equal step sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

# Differences that no setting removes, or that a comparison works around; printed below its tables.
NOTES = {
    "DiffPIR": """\
- deepinv returns the noisy iterate of the last noise level (std 0.005 on [0, 1]) and drops the last
  denoised estimate, although it pays for that evaluation; ours returns the estimate. Its dropped
  estimate is a row of its own.
- deepinv clamps every estimate to [0, 1]: signed data and values above the robust maximum are lost.
- deepinv's noise levels are those of 1000 variance-preserving steps, from 78.7 on [0, 1] down to
  0.005; they cannot be chosen. The first are beyond what our denoiser was trained on (here up to
  21.7), where it answers with about a mean. Ours follow Karras et al. within its range.
- deepinv's lambda is on mixed scales: its 2 is our 1 (its default is 7). Its seed 0 seeds nothing.
- deepinv starts from H^T y unless told otherwise; here from the pseudo-inverse. A noise level in
  deepinv's physics would rebuild the schedule within the call but leave the start as it was; here
  the constructor is told instead.
- Noise-free data make deepinv's gamma infinite; the proximal step given to it here takes that as
  the projection.
- deepinv does not project onto noise-free data at the end; ours does, as shipped. The column
  "projected" has done so with every image.""",
    "DPS": """\
- deepinv adds the gradient to the score, which multiplies its step by about beta_t; the original,
  and ours, subtract a constant times the gradient. No constant weight gives the original's steps:
  beside deepinv's default 1 stands the weight whose factors add up to the original's over a chain
  (proportional to T; 80 at T = 1000, so that the default is 80 times weaker). The matched run sets
  the public attribute `weight` before each evaluation.
- deepinv's default chain starts at 76 on [0, 1], beyond what our denoiser was trained on; here it
  starts at the largest level that the denoiser knows, by time steps given to deepinv's solver.
- deepinv clips the estimate to [-1, 1], meant for images on that scale, while it works on [0, 1].
- deepinv's variance-preserving chain ends with a guided step to noise level 0; ours, and deepinv's
  variance-exploding one, with a plain evaluation at the lowest level.
- deepinv computes in float64 by default (the denoiser in float32); the matched run in float32, in
  which both libraries draw the same numbers.
- deepinv does not project onto noise-free data at the end; ours does, as shipped. The column
  "projected" has done so with every image.""",
}


def matched_weights(sigmas: Sequence[float], scale: float) -> Iterator[float]:
    """Yield the weight of each step that makes deepinv's displacement equal to ours.

    On [0, 1], deepinv's is (s^2 - s_next^2) weight grad, and ours is
    scale sqrt((1 + 4 s^2) (1 + 4 s_next^2)) / 2 grad. The closing evaluation has no gradient.
    """
    for a, b in pairwise(sigmas):
        yield scale * np.hypot(1, 2 * a) * np.hypot(1, 2 * b) / 2 / (a**2 - b**2)
    yield 0.0
