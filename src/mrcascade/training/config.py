"""Settings of a training run, stored as JSON in its checkpoints and in the prior."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any

from mrcascade.arrays.factors import MOST_RATIO
from mrcascade.errors import MRCascadeError
from mrcascade.networks import LevelConfig, network_preset

STAGES = ("regression branch", "U-Net")  # stages of a level's training, in order
MEAN_SHARE = 0.5  # default share of a level's patches for its regression branch
#: Precisions of the networks in training; without "auto", as resumed runs keep theirs.
TRAINING_PRECISIONS = ("float32", "bfloat16", "float16")
#: Rates of a run that starts from a prior: at those of a new one it forgets before the rates fall.
ADAPTING = {"rate": 0.006, "mean_rate": 0.0006}

# Ranges of settings within which a run fits memory and time; other settings have own checks.
_RANGES = {
    "images": (1, 10**9),
    "batch": (1, 10**5),
    "microbatch": (0, 10**5),
    "patch": (1, 4096),
    "coarse_patch": (1, 4096),
    "channels": (1, 2),
    "reduction": (1, 64),
    "coarser_copies": (0, 100),
    "seed": (0, 2**63 - 1),
    "rate": (0.0, 10.0),
    "mean_rate": (0.0, 10.0),
    "noise_mean": (-100.0, 100.0),
    "noise_std": (0.0, 100.0),
    "high_noise_share": (0.0, 1.0),
    "clean_condition_share": (0.0, 1.0),
    "mean_clean_condition_share": (0.0, 1.0),
    "scale_jitter": (0.0, 10.0),
    "anatomy_balance": (0.0, 1.0),
    "contrast_balance": (0.0, 1.0),
    "contrast_map_share": (0.0, 1.0),
    "contrast_map_strength": (0.0, 1.0),
    "bias_field_share": (0.0, 1.0),
    "bias_field_strength": (0.0, 2.0),
    "blur_share": (0.0, 1.0),
    "largest_blur": (0.0, 10.0),
    "added_noise_share": (0.0, 1.0),
    "largest_added_noise": (0.0, 1.0),
    "measurement_noise_share": (0.0, 1.0),
    "largest_measurement_noise": (0.0, 1.0),
}
# Shares of a batch by the kind of measurement; the rest is measured along both axes.
_MEASURED_SHARES = ("own_kernel_share", "one_axis_share")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a cascade's training. Noise levels are in units of the band's std.

    Each level trains on ``images`` patches. A conditional level has two stages: ``mean_images``
    patches (half of all if None) train its regression branch, then the others its U-Net with the
    branch fixed. A level with only one of these networks spends all patches on it. ``rate`` is the
    reference learning rate of the U-Net (Adam, EDM2 schedule). ``mean_rate`` is that of the branch:
    Muon for the convolutions of its body, and Adam with a third of the rate for the rest. In a
    stage of ``N`` patches, rates follow ``rate / sqrt(max(n / (reference_share N), 1))`` after a
    ramp. They fall linearly to zero over the last ``cooldown_share``, because a short run gains
    more from the decay than from averaging the weights.

    Raises:
        MRCascadeError: a setting is out of range.
    """

    network: str = "small"
    kernel: str = "fourier"
    channels: int = 1  # 2 (real, imaginary) for complex images; follows from the data
    images: int = 120_000
    mean_images: int | None = None
    batch: int = 16
    microbatch: int = 0  # patches in memory at once, 0: the whole batch; affects rounding only
    patch: int = 64  # side of the training patches on levels other than the coarsest
    coarse_patch: int = 48  # side on the coarsest level, which has small images
    seed: int = 0
    rate: float = 0.015
    mean_rate: float = 1.5e-3
    ramp_share: float = 0.02
    reference_share: float = 0.3
    cooldown_share: float = 0.5
    noise_mean: float = -0.3  # ln sigma ~ N(noise_mean, noise_std^2)
    noise_std: float = 1.4
    high_noise_share: float = 0.1  # share of a batch with ln sigma uniform in this range
    high_noise_range: tuple[float, float] = (5.0, 80.0)
    clean_condition_share: float = 0.4  # share of a batch conditioned on the true coarser image
    mean_clean_condition_share: float = 0.8  # the same, for the regression branch
    condition_error: float = 0.95  # largest error level of a condition that is a sum of bands
    coarse_condition_error: float = 0.15  # the same, for a condition that is the coarsest image
    reduction: int = 1  # power of 2 by which the images are coarsened before training
    coarser_copies: int = 1  # copies of each training volume, with a smaller acquired matrix
    coarsest_copy: float = 0.6  # least share of the original matrix per side of a copy
    scale_jitter: float = 0.2  # intensities are multiplied by exp(U(-jitter, jitter))
    ema: tuple[float, ...] = (0.05, 0.10)
    precision: str = "float32"
    start: str = ""  # name or folder of a prior, for initial weights
    exclude: tuple[str, ...] = ()  # FIELD=WORD of the manifest: files to leave out
    anatomy_balance: float = 1.0  # 1: equal shares of anatomies, 0: of subjects
    contrast_balance: float = 0.0  # 1: equal shares of an anatomy's contrasts, 0: of its subjects
    # Shares of slices with random changes, and their strengths (see ``augment``).
    contrast_map_share: float = 0.0
    contrast_map_strength: float = 1.0  # 0 keeps the contrast
    bias_field_share: float = 0.0
    bias_field_strength: float = 0.3  # largest gain is exp(bias_field_strength)
    blur_share: float = 0.0
    largest_blur: float = 0.5  # standard deviation in pixels
    added_noise_share: float = 0.0
    largest_added_noise: float = 0.02  # standard deviation, as a share of the robust maximum
    demodulate: bool = True  # complex images: networks see them without their local phase
    # Whether conditions hold the data's knowledge about the band, and for which `measurements`.
    data_condition: bool = True
    own_kernel_share: float = 0.4  # prior's kernel along both axes: nothing known of the band
    one_axis_share: float = 0.3
    measurement_noise_share: float = 0.5  # share of noisy ones among other measurements
    largest_measurement_noise: float = 0.05  # standard deviation, share of the robust maximum

    def __post_init__(self) -> None:
        self._check_kinds()
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise MRCascadeError(
                    f"training setting {name} is {value}; it must lie from {least} to {most}"
                )
        if self.mean_images is not None:
            self._check_shares(self.mean_images)
        for name in ("reference_share", "cooldown_share", "ramp_share", "coarsest_copy"):
            if not 0 < getattr(self, name) <= 1:
                raise MRCascadeError(f"training setting {name} must lie above 0 and up to 1")
        for name in ("condition_error", "coarse_condition_error"):
            if not 0 <= getattr(self, name) < 1:
                raise MRCascadeError(f"training setting {name} must be at least 0 and below 1")
        if self.precision not in TRAINING_PRECISIONS:
            raise MRCascadeError(
                f"training setting precision is {self.precision!r}, not one of"
                f" {', '.join(TRAINING_PRECISIONS)}"
            )
        shares = [getattr(self, name) for name in _MEASURED_SHARES]
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise MRCascadeError(
                f"training settings {', '.join(_MEASURED_SHARES)} must be at least 0 and add up to"
                f" at most 1; they are {', '.join(f'{share:g}' for share in shares)}"
            )
        if self.slices:
            self._check_slices()
        for text in self.exclude:
            check_exclusion(text)
        if self.reduction & (self.reduction - 1):
            raise MRCascadeError(
                f"training setting reduction is {self.reduction}, not a power of 2"
            )

    def _check_kinds(self) -> None:
        """Raise MRCascadeError for a number in place of a switch, and for the reverse."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, bool) and not isinstance(value, bool):
                raise MRCascadeError(
                    f"training setting {each.name} is {value!r}, neither true nor false"
                )
            if isinstance(value, bool) and not isinstance(each.default, bool):
                raise MRCascadeError(f"training setting {each.name} is {value!r}, not a number")

    def _check_slices(self) -> None:
        """Raise MRCascadeError for settings that networks for thick slices do not have."""
        given = {each.name: getattr(self, each.name) != each.default for each in fields(self)}
        for name in ("data_condition", *_MEASURED_SHARES):
            if given[name]:
                raise MRCascadeError(
                    f"training setting {name} has no effect on {self.network!r}, which learns from"
                    " thick slices alone; leave it out"
                )

    def _check_shares(self, mean_images: int) -> None:
        if not any(level.mean and level.unet for level in network_preset(self.network).levels):
            raise MRCascadeError(
                f"training setting mean_images is {mean_images}, but no level of {self.network!r}"
                " has both a regression branch and a U-Net; leave it out"
            )
        if not 0 <= mean_images < self.images:
            raise MRCascadeError(
                f"training setting mean_images is {mean_images}; of the {self.images} patches per"
                " level (images) the regression branch can have none to all but one, as the rest"
                " are the U-Net's"
            )

    def stages(self, level: int) -> tuple[int, int]:
        """Return the patches for a level's regression branch and U-Net; 0 for absent networks."""
        networks = network_preset(self.network).levels[level - 1]
        if not networks.mean:
            return 0, self.images if networks.unet else 0
        if not networks.unet:
            return self.images, 0
        given = self.mean_images
        branch = int(self.images * MEAN_SHARE) if given is None else given
        return branch, self.images - branch

    @property
    def networks(self) -> tuple[LevelConfig, ...]:
        """Shapes of the levels' networks, finest first."""
        demodulated = self.demodulate and self.channels == 2
        return tuple(
            replace(level, data=self.data_condition, demodulated=demodulated)
            if level.mean
            else level
            for level in network_preset(self.network).levels
        )

    @property
    def levels(self) -> int:
        """Number of levels of the cascade."""
        return len(network_preset(self.network).levels)

    @property
    def step(self) -> int:
        """Factor between the grids of neighbouring levels."""
        return network_preset(self.network).step

    @property
    def slices(self) -> bool:
        """Whether all measurements are thick slices."""
        return network_preset(self.network).slices

    @property
    def multiple(self) -> int:
        """Number that divides the sides of the cropped images."""
        return int(self.step ** (self.levels - 1)) * self.reduction

    @property
    def factors(self) -> tuple[int, ...]:
        """Factors per axis of the measurements whose robust maxima scale the images.

        They include 2x and 4x for any number of levels, because data steps allow these factors.
        Thick slices are up to 8 samples apart.
        """
        return (2, MOST_RATIO if self.slices else max(4, self.multiple))

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Read ``json.dumps(asdict(config))``. Raises TypeError for unknown settings."""
        stored = json.loads(text)
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()
        }
        return cls(**values)

    @staticmethod
    def upgraded(text: str, level: int) -> tuple[str, tuple[int, int]]:
        """Convert settings of older versions, in which ``images`` counted the U-Net's patches only.

        Returns:
            The settings in the present form, and the patches of the level's two stages.
        """
        stored = json.loads(text)
        networks = network_preset(stored["network"]).levels[level - 1]
        branch = stored.get("mean_images", 0) if networks.mean else 0
        unet = stored["images"] if networks.unet else 0
        shared = networks.mean and networks.unet
        stored |= {"images": max(branch + unet, 1), "mean_images": branch if shared else None}
        return json.dumps(stored), (branch, unet)

    def learning_rate(self, done: float) -> float:
        """Return the learning rate as a share of the reference rate.

        The schedule is Karras et al. 2024, eq. 67, with a linear end. done: share of the stage.
        """
        ramp = min(1.0, (done + 1e-6) / self.ramp_share)
        decay = max(done / self.reference_share, 1.0) ** -0.5
        cooldown = min(1.0, max(1.0 - done, 0.0) / self.cooldown_share)
        return ramp * decay * cooldown


def check_exclusion(text: str) -> tuple[str, str]:
    """Return field and word of ``FIELD=WORD``. Raises MRCascadeError for other texts."""
    field, _, word = text.partition("=")
    if not field.strip() or not word.strip():
        raise MRCascadeError(f"--exclude {text}: give FIELD=WORD, such as contrast=FLAIR")
    return field.strip(), word.strip()
