"""Gaussian priors with denoisers, conditional means and posteriors in closed form.

Everything here is dense float64 linear algebra on flattened images. It shares no code with the
samplers, so that the two can be compared.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrcascade.operators import LinearOperator, downsampler, upsampler
from mrcascade.operators.pyramid import LaplacianPyramid

Array = np.ndarray


def dense(operator: LinearOperator) -> Array:
    """Matrix (outputs, inputs) of an operator on flattened images."""
    samples = operator.in_shape[0] * operator.in_shape[1]
    unit = torch.eye(samples, dtype=torch.float64).reshape(samples, 1, *operator.in_shape)
    return operator(unit).reshape(samples, -1).numpy().T


def image_gaussian(shape: tuple[int, int], seed: int) -> tuple[Array, Array]:
    """Mean and covariance of images that are smooth, textured and not stationary."""
    rng = np.random.default_rng(seed)
    rows, cols = (a.ravel() for a in np.meshgrid(*map(np.arange, shape), indexing="ij"))
    squared = (rows[:, None] - rows) ** 2 + (cols[:, None] - cols) ** 2
    texture = rng.standard_normal((rows.size, rows.size)) / np.sqrt(rows.size)
    cov = 0.06 * np.exp(-squared / 12) + 0.004 * texture @ texture.T + 1e-4 * np.eye(rows.size)
    mean = 0.4 + 0.1 * np.cos(rows) + 0.1 * rng.standard_normal(rows.size)
    return mean, cov


def stationary_gaussian(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Zero mean, circulant covariance with a falling spectrum: Fourier bands are independent."""
    fr, fc = np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")
    gain = np.sqrt(0.002 / (0.01 + fr**2 + fc**2))
    units = np.eye(fr.size).reshape(-1, *shape)
    root = np.fft.ifft2(np.fft.fft2(units) * gain).real.reshape(fr.size, -1)
    return np.zeros(fr.size), root @ root.T


def condition_on(mean: Array, cov: Array, h: Array, y: Array, sigma: float) -> tuple[Array, Array]:
    """Mean and covariance of x given y = h x + sigma noise."""
    gain = np.linalg.solve(h @ cov @ h.T + sigma**2 * np.eye(len(h)), h @ cov).T
    return mean + gain @ (y - h @ mean), cov - gain @ h @ cov


def shrinkage(cov: Array, sigma: float) -> Array:
    """The denoiser's matrix C (C + sigma^2 I)^-1."""
    return np.linalg.solve(cov + sigma**2 * np.eye(len(cov)), cov).T


def circular(cov: Array) -> Array:
    """Covariance of (real, imaginary) parts of a circular complex vector with E[x x^H] = cov."""
    return np.block([[cov.real, -cov.imag], [cov.imag, cov.real]]) / 2


def times(matrix: Array, x: Tensor) -> Tensor:
    """Apply a matrix to flattened images (..., rows, cols) of any size; columns back to square.
    A matrix for all channels together is applied to (..., channels, rows, cols)."""
    first = -2 if matrix.shape[1] == x.shape[-2] * x.shape[-1] else -3
    return (x.flatten(first) @ torch.tensor(matrix.T, dtype=x.dtype)).reshape(x.shape)


@dataclass
class GaussianConditioned:
    """Band ~ N(mean, cov), given the condition."""

    offset: Tensor
    cov: Array

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        return self.offset + times(shrinkage(self.cov, sigma), x - self.offset)

    def mean(self) -> Tensor:
        return self.offset


@dataclass
class GaussianLevel:
    """Band given up(coarser image) = c: N(constant + slope c, cov), flattened.

    With matrices of twice the size of ``shape`` it is one of two channels.
    """

    shape: tuple[int, int]
    constant: Array
    slope: Array | None
    cov: Array
    std: float
    sigma_max: float = 20.0
    sigma_min: float = 0.002

    def condition(self, coarse: Tensor | None, error: float) -> GaussianConditioned:
        assert (coarse is None) == (self.slope is None)
        offset = torch.tensor(self.constant).reshape(-1, *self.shape)
        if coarse is not None:
            offset = offset + times(self.slope, coarse)
        return GaussianConditioned(offset, self.cov)


class GaussianPrior:
    """The exact scale-cascaded prior of images x ~ N(mean, cov), for any kernel; of images of two
    channels where mean and cov are those of both, one after the other.

    With g_(i+1) = D g_(i), the band x_(i) = g_(i) - U g_(i+1) given g_(i+1) is Gaussian.
    """

    def __init__(self, mean: Array, cov: Array, pyramid: LaplacianPyramid) -> None:
        self.mean, self.cov = mean, cov
        self.levels: list[GaussianLevel] = []
        self.ups: list[Array] = []
        channels = np.eye(len(mean) // (pyramid.shapes[0][0] * pyramid.shapes[0][1]))
        for fine, coarse in zip(pyramid.shapes, pyramid.shapes[1:], strict=False):
            down = np.kron(channels, dense(downsampler(pyramid.kernel, fine, coarse)))
            up = np.kron(channels, dense(upsampler(pyramid.kernel, fine, coarse)))
            gain = np.linalg.solve(down @ cov @ down.T, down @ cov).T
            slope = (gain - up) @ np.linalg.pinv(up)
            band = np.eye(len(cov)) - up @ down
            std = float(np.sqrt(np.trace(band @ cov @ band.T) / len(cov)))
            conditional = cov - gain @ down @ cov
            constant = mean - gain @ down @ mean
            self.levels.append(GaussianLevel(fine, constant, slope, conditional, std))
            self.ups.append(up)
            mean, cov = down @ mean, down @ cov @ down.T
        std = float(np.sqrt(np.trace(cov) / len(cov)))
        self.levels.append(GaussianLevel(pyramid.shapes[-1], mean, None, cov, std))


@dataclass
class Affine:
    """A random vector constant + slope g + N(0, cov), affine in the coarser image g."""

    constant: Array
    slope: Array
    cov: Array

    def then(self, m: Array, slope: Array, constant: Array) -> "Affine":
        """m x + slope g + constant."""
        return Affine(m @ self.constant + constant, m @ self.slope + slope, m @ self.cov @ m.T)

    def given(self, mean: Array, cov: Array) -> tuple[Array, Array]:
        """Mean and covariance for g ~ N(mean, cov)."""
        return self.constant + self.slope @ mean, self.slope @ cov @ self.slope.T + self.cov


@dataclass
class DenseLevel:
    """What the dense recursion of one level needs: u = x + up g is compared with its target.

    ``target`` None stands for the coarser image g itself. ``keep`` is the projector of the band
    constraint. At the coarsest level ``up`` is None and g is a vector of length zero.
    """

    level: GaussianLevel
    h: Array
    target: Array | None
    sigma: float
    up: Array | None
    keep: Array | None = None

    def __post_init__(self) -> None:
        n = len(self.level.cov)
        self.lift = np.zeros((n, 0)) if self.up is None else self.up
        self.projector = np.eye(n) if self.keep is None else self.keep
        slope = np.zeros((n, n)) if self.level.slope is None else self.level.slope
        self.mean_slope = slope @ self.lift

    def proximal(self, tau: float) -> tuple[Array, Array]:
        """(A, B): argmin_u ||t - h u||^2 + tau ||u - v||^2 = A v + B t."""
        if tau == 0:
            inverse = np.linalg.pinv(self.h, rcond=1e-9)
        else:
            normal = self.h.T @ self.h + tau * np.eye(self.h.shape[1])
            inverse = np.linalg.solve(normal, self.h.T)
        return np.eye(self.h.shape[1]) - inverse @ self.h, inverse

    def aim(self, b: Array) -> tuple[Array, Array]:
        """b t as (slope g, constant)."""
        if self.target is None:
            return b, np.zeros(len(b))
        return np.zeros((len(b), self.lift.shape[1])), b @ self.target

    def denoised(self, x: Affine, sigma: float) -> tuple[Array, Array, Array]:
        """(m, slope, constant) of the denoiser at this noise level."""
        gain = shrinkage(self.level.cov, sigma)
        rest = np.eye(len(gain)) - gain
        return gain, rest @ self.mean_slope, rest @ self.level.constant


def dense_reverse_diffusion(
    problem: DenseLevel, sigmas: tuple[float, ...], *, zeta: float
) -> Affine:
    """Exact law of the rebuilt image, as a function of g, of a chain that starts at t - up g.

    Song et al. 2021 (DDIM), eq. 12 and 16 in variance-exploding form: x <- x0 + sqrt(s'^2 - v)
    (x - x0) / s + sqrt(v) noise with v = zeta s'^2 (1 - s'^2 / s^2); at zeta = 1 the ancestral
    sampler. Nothing at the last index; the image is then constrained.
    """
    assert problem.target is not None
    n, eye = len(problem.level.cov), np.eye(len(problem.level.cov))
    q, up = problem.projector, problem.lift
    x = Affine(problem.target, -up, np.zeros((n, n)))
    for s, following in itertools.pairwise(sigmas):
        m, slope, constant = problem.denoised(x, s)
        fresh = zeta * following**2 * (1 - (following / s) ** 2)
        carry = np.sqrt(following**2 - fresh) / s
        x = x.then((1 - carry) * m + carry * eye, (1 - carry) * slope, (1 - carry) * constant)
        x.cov = x.cov + fresh * eye
    m, slope, constant = problem.denoised(x, sigmas[-1])
    return x.then(q @ m, q @ slope + up, q @ constant)


def dense_chain(
    problem: DenseLevel,
    sigmas: tuple[float, ...],
    *,
    zeta: float,
    lam: float = 1.0,
    start: Array | None = None,
    at_mean: bool = False,
) -> Affine:
    """Exact law of the rebuilt image after one level's DiffPIR chain, as a function of g. It begins
    with noise about zero, about ``start``, or ``at_mean`` about the band's conditional mean.

    Algorithm 1 of Zhu et al. 2023 written out once more: x0 = denoise, data step in u = x0 + up g,
    x <- x0 + s' (sqrt(1 - zeta) (x - x0) / s + sqrt(zeta) noise); nothing at the last index. The
    image is then constrained and, where sigma is 0, projected.
    """
    n, eye = len(problem.level.cov), np.eye(len(problem.level.cov))
    zeros = np.zeros((n, problem.lift.shape[1]))
    x = Affine(np.zeros(n) if start is None else start, zeros, sigmas[0] ** 2 * eye)
    if at_mean:
        x = Affine(problem.level.constant, problem.mean_slope, x.cov)
    q, up = problem.projector, problem.lift
    for s, following in itertools.pairwise(sigmas):
        m, slope, constant = problem.denoised(x, s)
        a, b = problem.proximal(lam * (problem.sigma / s) ** 2)
        t_slope, t_constant = problem.aim(b)
        m = q @ a @ m
        slope = q @ (a @ (slope + up) + t_slope - up)
        constant = q @ (a @ constant + t_constant)
        carry = following * np.sqrt(1 - zeta) / s
        x = x.then((1 - carry) * m + carry * eye, (1 - carry) * slope, (1 - carry) * constant)
        x.cov = x.cov + following**2 * zeta * eye
    m, slope, constant = problem.denoised(x, sigmas[-1])
    image = x.then(q @ m, q @ slope + up, q @ constant)
    if problem.sigma == 0:
        a, b = problem.proximal(0.0)
        image = image.then(a, *problem.aim(b))
    return image
