"""The distance of a measurement from a prior's own images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mrcascade import CascadePrior, MRCascadeError, SeparableOperator, super_resolve
from mrcascade.arrays.intensity import Intensity
from mrcascade.cli import main
from mrcascade.cli.info import describe_prior
from mrcascade.evaluation.data import find_files, load_truth
from mrcascade.measurement.domain import NOISE_LEVELS, SIDE, domain_features, measure_domain
from mrcascade.networks import UNet, UNetConfig
from mrcascade.operators.crop import fourier_crop, fourier_resized
from mrcascade.prior.domain import DomainReference, FeatureDistribution, write_domain
from mrcascade.training.domain import domain_of
from mrcascade.training.volume import Volume
from tests.conftest import REGRESSION, write_random_prior

STD = 0.25
COUNT = len(NOISE_LEVELS)


# ---- features, against a Gaussian law ----


class Stationary:
    """Level of periodic Gaussian images of mean 1 whose denoiser is exact (a Wiener filter)."""

    def __init__(self) -> None:
        self.std = STD
        self.power = self.spectrum((SIDE, SIDE))
        self.halving = nn.Identity()
        self.networks = SimpleNamespace(unet=self)

    @property
    def prior(self) -> CascadePrior:
        return SimpleNamespace(levels=[self], device="cpu")  # type: ignore[return-value]

    def register_forward_hook(self, hook: object) -> object:
        return self.halving.register_forward_hook(hook)  # type: ignore[arg-type]

    def condition(self, coarse: None) -> Stationary:
        return self

    def spectrum(self, shape: tuple[int, ...]) -> np.ndarray:
        fr, fc = np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")
        power = 1 / (0.01 + fr**2 + fc**2)
        return STD**2 * power / power.mean()

    def shares(self, sigma: float, shape: tuple[int, ...] = (SIDE, SIDE)) -> np.ndarray:
        """The Wiener filter of each frequency."""
        return 1 / (1 + sigma**2 / self.spectrum(shape))

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        self.halving(x)
        filtered = torch.fft.fft2(x.double() - 1) * torch.from_numpy(
            self.shares(sigma, x.shape[-2:])
        )
        return (torch.fft.ifft2(filtered).real + 1).to(x.dtype)

    def draw(self, rng: np.random.Generator, spread: float = 1.0) -> np.ndarray:
        white = np.fft.fft2(rng.standard_normal((SIDE, SIDE)))
        return 1 + spread * np.fft.ifft2(white * np.sqrt(self.power)).real


def law(level: Stationary, sigma: float, spread: float, noise: float) -> tuple[float, float]:
    """Expected surprise, and its standard deviation to first order.

    With the filter m, the mean squared error of a pair is the mean over frequencies of
    (1 - m)^2 |x + c|^2 + m^2 a^2 |n|^2, each |.|^2 a chi-square. Here c is the image's own noise
    and a^2 = sigma^2 - c^2. The divergence is the mean of m |n|^2.
    """
    m = level.shares(sigma)
    signal = spread**2 * level.power
    error = (1 - m) ** 2 * (signal + noise**2) + m**2 * (sigma**2 - noise**2)
    mean = error.mean() + noise**2 * (2 * m.mean() - 1)
    deviation = math.sqrt(2 * (error**2).sum()) / error.size
    slack = (sigma**2 + 2 * noise**2) * math.sqrt(2 * (m**2).sum()) / m.size
    expected = sigma**2 * m.mean()
    return math.log(mean / expected), deviation / mean + slack / min(mean, expected)


@pytest.mark.parametrize("spread", [1.0, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_surprise_has_its_closed_form(spread: float, noise: float) -> None:
    """It is 0 for the prior's own images, with measurement noise as without: 5 deviations."""
    level, rng = Stationary(), np.random.default_rng(0)
    x = level.draw(rng, spread) + noise * rng.standard_normal((SIDE, SIDE))
    found = domain_features(x[None], (SIDE, SIDE), level.prior, noise)
    for index, s in enumerate(NOISE_LEVELS):
        sigma = STD * max(s, 1.5 * noise / STD)
        expected, deviation = law(level, sigma, spread, noise)
        if spread == 1 and noise == 0:
            assert expected == pytest.approx(0, abs=1e-12)
        assert deviation < 0.2
        assert found[index] == pytest.approx(expected, abs=5 * deviation)


def test_bias_is_exact() -> None:
    """Antithetic noise cancels in a linear denoiser: what remains is (m_0 - 1) (mean - 1)."""
    level = Stationary()
    x = level.draw(np.random.default_rng(1)) + 0.1
    found = domain_features(x[None], (SIDE, SIDE), level.prior)[COUNT : 2 * COUNT]
    shares = [level.shares(s * STD)[0, 0] for s in NOISE_LEVELS]
    expected = [(m - 1) * (x.mean() - 1) / STD for m in shares]
    np.testing.assert_allclose(found, expected, atol=2e-6)  # float32


def test_neither_size_nor_field_of_view_matters() -> None:
    """A body in a larger field of air, and one measured twice as finely, has the same features.

    The body is band-limited with a soft edge, so that crop and resampling change little.
    """
    r, c = np.mgrid[:96, :96] - 48
    body = np.exp(-(((r / 30) ** 2 + (c / 24) ** 2) ** 4))
    prior = Stationary().prior
    fine = domain_features(body[None], (96, 96), prior)
    airy = domain_features(np.pad(body, 24)[None], (144, 144), prior)
    coarse = domain_features(fourier_crop(body[None], (48, 48)), (96, 96), prior)
    thick = domain_features(fourier_crop(body[None], (96, 48)), (96, 96), prior)
    np.testing.assert_allclose(airy, fine, atol=0.02)  # the window moves by up to a pixel
    np.testing.assert_allclose(coarse, fine, atol=0.1)  # of the coarse grid here
    np.testing.assert_allclose(thick, fine, atol=0.1)


def test_resampling_of_k_space() -> None:
    stack = np.random.default_rng(0).normal(size=(2, 12, 10))
    larger = fourier_resized(stack, (24, 10))
    assert larger.shape == (2, 24, 10)
    np.testing.assert_allclose(fourier_resized(larger, (12, 10)), stack, atol=1e-12)
    mixed = fourier_resized(stack, (24, 5))
    np.testing.assert_allclose(mixed, fourier_resized(larger, (24, 5)), atol=1e-12)
    np.testing.assert_allclose(
        fourier_resized(stack, (6, 8)), fourier_crop(stack, (6, 8)), atol=1e-6
    )


@pytest.mark.parametrize(("multipliers", "index"), [((1,), 0), ((1, 2), 1), ((1, 2, 2), 3)])
def test_block_that_leads_to_the_coarsest_grid(multipliers: tuple[int, ...], index: int) -> None:
    unet = UNet(UNetConfig(8, multipliers, 1, ()), 1, 1)
    assert unet.halving is unet.encoder[index]
    shapes = []
    unet.halving.register_forward_hook(lambda block, inputs, output: shapes.append(output.shape))
    unet(torch.zeros(1, 1, 32, 32), torch.zeros(1))
    assert shapes[0][1] == unet.halving.width


# ---- distributions ----


def rows(people: int = 20, files: int = 2) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(people, 3)) @ rng.normal(size=(3, 2 * COUNT + 6))
    features = np.repeat(mixed, files, 0) + 0.3 * rng.normal(size=(people * files, 2 * COUNT + 6))
    return features, [f"p{i}" for i in range(people) for _ in range(files)]


def test_distance_is_that_of_the_dense_covariance() -> None:
    features, people = rows(files=1)
    fitted = FeatureDistribution.fit(features, np.array(people), 4)
    z = (features - features.mean(0)) / features.std(0)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    leading = vectors[:, -4:]
    dense = 0.5 * leading @ np.diag(values[-4:]) @ leading.T + 0.5 * np.eye(len(values))
    probe = features[3] + 0.7
    standard = (probe - features.mean(0)) / features.std(0)
    expected = math.sqrt(standard @ np.linalg.solve(dense, standard) / len(standard))
    assert fitted.score(probe) == pytest.approx(expected, rel=1e-3)  # stored with 5 digits


def test_each_person_counts_the_same() -> None:
    features, people = rows()
    copies = np.concatenate([features, features[:2], features[:2]])
    once, thrice = (
        FeatureDistribution.fit(f, np.array(p), 4)
        for f, p in ((features, people), (copies, [*people, *people[:2], *people[:2]]))
    )
    np.testing.assert_allclose(thrice.mean, once.mean, rtol=1e-4)
    np.testing.assert_allclose(thrice.std, once.std, rtol=1e-4)


def test_nine_of_ten_people_are_within_the_limit_of_the_others() -> None:
    features, people = rows()
    fitted = DomainReference.fit(features, people, NOISE_LEVELS)
    assert fitted.people == 20
    kinds = {"losses": features[:, : 2 * COUNT], "activations": features[:, 2 * COUNT :]}
    owners, scores = np.array(people), []
    for person in sorted(set(people)):
        own = owners == person
        score = 0.0
        for (name, values), count in zip(kinds.items(), (4, 8), strict=True):
            others = FeatureDistribution.fit(values[~own], owners[~own], count)
            limit = getattr(fitted, name).limit
            score = max(score, *(others.score(row) / limit for row in values[own]))
        scores.append(score)
    # numpy's quantile of 20 values lies between the 18th and the 19th
    assert np.sort(scores)[17] <= 1 + 1e-4
    assert np.sort(scores)[18] >= 1 - 1e-4


def test_few_people_are_no_distribution() -> None:
    with pytest.raises(MRCascadeError, match="8 people or more; there are 7"):
        DomainReference.fit(*rows(people=7), NOISE_LEVELS)


# ---- a prior with a domain ----


def disc(seed: int) -> np.ndarray:
    """Two slices (48, 48) of a disc with a darker, textured core."""
    rng = np.random.default_rng(seed)
    r, c = np.mgrid[:48, :48] - 23.5
    edge = 1 / (1 + np.exp(np.hypot(r, c) - rng.uniform(17, 20)))
    core = 1 / (1 + np.exp(np.hypot(r, c) - rng.uniform(7, 10)))
    texture = 1 + 0.05 * np.sin(r / 2 + rng.uniform(0, 6))
    return np.stack([edge * texture - depth * core for depth in (0.3, 0.4)]).astype(np.float32)


def volumes(count: int = 10) -> list[Volume]:
    return [
        Volume(f"a/train/{i}", "a", "train", disc(i), {2: 1.0}, subject=str(i))
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, prior_folder: Path) -> Path:
    """The random prior, with the domain of discs."""
    made = copytree(prior_folder, tmp_path_factory.mktemp("domain") / "prior")
    reference = domain_of(volumes(), CascadePrior.from_pretrained(made))
    assert reference is not None
    write_domain(made, reference)
    return made


def test_round_trip(folder: Path, prior: CascadePrior, prior_folder: Path) -> None:
    found = CascadePrior.from_pretrained(folder)
    assert found.domain == domain_of(volumes(), prior)
    assert prior.domain is None
    before = (folder / "prior.json").read_bytes()
    write_domain(folder, found.domain)
    assert (folder / "prior.json").read_bytes() == before
    assert "domain score: by the images of 10 people, in training or validation" in describe_prior(
        folder
    )
    assert "domain score: none, as" in "\n".join(describe_prior(prior_folder))


def score(prior: CascadePrior, stack: np.ndarray) -> float:
    found = measure_domain(
        stack.__getitem__, len(stack), stack.shape[1:], prior, Intensity(1.0), 0.0
    )
    assert found is not None
    assert found.outside == (found.score > 1)
    assert f"{found.score:.2f} (limit 1)" in found.warning
    return found.score


def test_inverted_images_are_outside(folder: Path) -> None:
    prior = CascadePrior.from_pretrained(folder)
    assert score(prior, disc(100)) < 1 < score(prior, 1 - disc(100))


def test_priors_that_cannot_have_a_domain(tmp_path: Path, prior: CascadePrior) -> None:
    regression = CascadePrior.from_pretrained(write_random_prior(tmp_path, cascade=REGRESSION))
    assert domain_of(volumes(), regression) is None
    assert domain_of(volumes(7), prior) is None
    stack = disc(0)
    nothing = measure_domain(stack.__getitem__, 2, (48, 48), prior, Intensity(1.0), 0.0)
    assert nothing is None


def test_complex_prior(tmp_path: Path) -> None:
    """Features do not depend on the global phase, up to what a random network makes of it."""
    prior = CascadePrior.from_pretrained(write_random_prior(tmp_path, channels=2))
    turned = [
        Volume(v.file, "a", "train", v.slices * np.exp(0.3j), {2: 1.0}, subject=v.subject)
        for v in volumes()
    ]
    reference = domain_of(turned, prior)
    assert reference is not None
    assert len(reference.losses.mean) == 2 * COUNT


def test_results_do_not_depend_on_the_domain(folder: Path, prior: CascadePrior) -> None:
    known = CascadePrior.from_pretrained(folder)
    operator = SeparableOperator.from_kernel("fourier", 2, (48, 48))
    low = operator(torch.from_numpy(disc(3))).numpy()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    with_domain, without = (
        super_resolve(low, operator, p, noise=0.02, mode="sample", steps=4) for p in (known, prior)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(with_domain.mean, without.mean)
    assert without.domain is None
    again = super_resolve(low, operator, known, noise=0.02, seed=1)
    assert with_domain.domain == again.domain is not None


@pytest.mark.parametrize("foreign", [False, True])
def test_sr_says_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], foreign: bool
) -> None:
    for name in ("a", "b"):
        image = disc(3).transpose(1, 2, 0)
        np.save(tmp_path / f"{name}.npy", 1 - image if foreign else image)
    inputs = [str(tmp_path / f"{name}.npy") for name in ("a", "b")]
    options = ["--prior", str(folder), "--factor", "2", "--noise", "0", "--device", "cpu"]
    assert main(["sr", *inputs, "-o", str(tmp_path / "out"), *options]) == 0
    said = capsys.readouterr().out
    assert said.count("domain score") == (4 if foreign else 2)
    assert said.count("warning: unlike the images that prior 'random' was made with") == 2 * foreign
    sidecar = json.loads((tmp_path / "out" / "a_desc-sr2x.json").read_text())
    assert sidecar["OutOfDomain"] is foreign
    assert (sidecar["DomainScore"] > 1) is foreign
    notes = json.loads((tmp_path / "out" / "run.json").read_text())["Results"][0]["Notes"]
    assert any("domain score" in note for note in notes)


def test_a_prior_without_a_domain_says_nothing(
    prior_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", 1 - disc(3).transpose(1, 2, 0))
    options = ["--prior", str(prior_folder), "--factor", "2", "--noise", "0", "--device", "cpu"]
    assert main(["sr", str(tmp_path / "a.npy"), "-o", str(tmp_path / "out"), *options]) == 0
    assert "domain score" not in capsys.readouterr().out
    sidecar = json.loads((tmp_path / "out" / "a_desc-sr2x.json").read_text())
    assert not {"DomainScore", "OutOfDomain"} & sidecar.keys()


@pytest.mark.slow
def test_evaluate_says_it(folder: Path, tmp_path: Path) -> None:
    for name, image in (("own", disc(3)), ("foreign", 1 - disc(3))):
        place = tmp_path / "data" / "a" / "test"
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{name}.npy", image.transpose(1, 2, 0))
    call = ["evaluate", "--data", str(tmp_path / "data"), "-o", str(tmp_path / "out")]
    call += ["--prior", str(folder), "--factor", "2", "--device", "cpu"]
    call += ["--noise-handling", "known", "--methods"]
    for methods in ("mean", "zero-fill,mean"):  # the second command restores nothing by a network
        assert main([*call, methods]) == 0
        document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        scores = {name: found["random"] for name, found in document["domain"].items()}
        assert scores["a/test/own.npy"] < 1 < scores["a/test/foreign.npy"]
        page = (tmp_path / "out" / "table.md").read_text()
        assert "Careful: 1 of 2 files are unlike the images that prior 'random'" in page
        assert "most of all a/test/foreign.npy" in page


# ---- the bundled prior ----


@pytest.mark.parametrize(
    ("name", "factor"), [("brain/test/ptbp44", 2.0), ("prostate/test/prostatex0001_t2w_tra", 4.0)]
)
def test_bundled_prior_knows_its_anatomies(data_folder: Path, name: str, factor: float) -> None:
    prior = CascadePrior.from_pretrained("mr-small")
    file = next(f for f in find_files(data_folder, "test") if f.name.startswith(name))
    stack = load_truth(file, (factor, factor)).slices
    operator = SeparableOperator.from_kernel("fourier", factor, stack.shape[1:])
    for image, outside in ((stack, False), (stack.max() - stack, True)):
        low = operator(torch.from_numpy(np.ascontiguousarray(image))).numpy()
        intensity = Intensity.of(low)
        found = measure_domain(low.__getitem__, len(low), operator.in_shape, prior, intensity, 0.0)
        assert found is not None
        assert found.outside is outside
