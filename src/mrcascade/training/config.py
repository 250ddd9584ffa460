"""What defines a training run; serialised as JSON in the checkpoint and in the prior."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.networks import network_preset

STAGES = ("regression branch", "U-Net")  # of a level's training, in their order
MEAN_SHARE = 0.5  # of a level's patches, for its regression branch by default

# What a run can come to the end of, in memory and in time; what is not here has rules of its own.
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
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a cascade's training. Noise levels are in units of the band's std.
    Raises MRCascadeError for settings that no run can have.

    Each level trains on ``images`` patches. A conditional level spends them in two stages: its
    regression branch gets ``mean_images`` of them, half if None, then its U-Net, with the branch
    fixed, the others. A level that has only one of the two spends all on that. ``rate`` is the
    reference learning rate of the U-Net (Adam, EDM2 schedule), ``mean_rate`` that of the branch
    (Muon for the convolutions of its body, a third of it with Adam for the rest). In a stage of
    ``N`` patches they follow ``rate / sqrt(max(n / (reference_share N), 1))`` after a ramp, and
    fall linearly to zero over the last ``cooldown_share``, because a short run gains more from the
    decay than from the average of the weights.
    """

    network: str = "small"
    kernel: str = "fourier"
    channels: int = 1  # 2 (real, imaginary) for complex images; follows from the data
    images: int = 120_000
    mean_images: int | None = None
    batch: int = 16
    microbatch: int = 0  # patches of a batch in memory at once; 0: all. Changes rounding alone
    patch: int = 64  # side of the training patches on level 1 and 2
    coarse_patch: int = 48  # on the coarsest level, whose images are small
    seed: int = 0
    rate: float = 0.015
    mean_rate: float = 1.5e-3
    ramp_share: float = 0.02
    reference_share: float = 0.3
    cooldown_share: float = 0.5
    noise_mean: float = -0.3  # ln sigma ~ N(noise_mean, noise_std^2)
    noise_std: float = 1.4
    high_noise_share: float = 0.1  # of a batch, at ln sigma uniform between these two
    high_noise_range: tuple[float, float] = (5.0, 80.0)
    clean_condition_share: float = 0.4  # of a batch, conditioned on the true coarser image
    mean_clean_condition_share: float = 0.8  # the same, for the regression branch
    condition_error: float = 0.95  # largest error level of a condition that is a sum of bands
    coarse_condition_error: float = 0.15  # of a condition that is the coarsest image alone
    reduction: int = 1  # trains a prior of images that are coarser by this power of 2
    coarser_copies: int = 1  # of every training volume, as if acquired with a smaller matrix
    coarsest_copy: float = 0.6  # its sides, each drawn from this share of the original's to all
    scale_jitter: float = 0.2  # intensities are multiplied by exp(U(-jitter, jitter))
    ema: tuple[float, ...] = (0.05, 0.10)
    precision: str = "float32"
    start: str = ""  # name or folder of the prior whose weights the training begins with
    exclude: tuple[
        str, ...
    ] = ()  # FIELD=WORD of the manifest: files that neither train nor validate
    anatomy_balance: float = 1.0  # 1 draws anatomies alike, 0 their subjects
    contrast_balance: float = 0.0  # 1 draws the contrasts of an anatomy alike, 0 its subjects
    # Shares of the slices shown that are changed at random, and how much (see ``augment``).
    contrast_map_share: float = 0.0
    contrast_map_strength: float = 1.0  # of the maps of intensities; 0 keeps the contrast
    bias_field_share: float = 0.0
    bias_field_strength: float = 0.3  # the largest gain is exp(this) or less
    blur_share: float = 0.0
    largest_blur: float = 0.5  # standard deviation in pixels
    added_noise_share: float = 0.0
    largest_added_noise: float = 0.02  # standard deviation, of the robust maximum

    def __post_init__(self) -> None:
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
        if self.precision not in ("float32", "bfloat16"):  # a run keeps to one, wherever it goes on
            raise MRCascadeError(
                f"training setting precision is {self.precision!r}, neither float32 nor bfloat16"
            )
        for text in self.exclude:
            check_exclusion(text)
        if self.reduction & (self.reduction - 1):
            raise MRCascadeError(f"training setting reduction is {self.reduction}, no power of 2")

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
        """Patches of a level's regression branch and of its U-Net; 0 for what it does not have."""
        networks = network_preset(self.network).levels[level - 1]
        if not networks.mean:
            return 0, self.images if networks.unet else 0
        if not networks.unet:
            return self.images, 0
        given = self.mean_images
        branch = int(self.images * MEAN_SHARE) if given is None else given
        return branch, self.images - branch

    @property
    def levels(self) -> int:
        """As many as the network has."""
        return len(network_preset(self.network).levels)

    @property
    def step(self) -> int:
        """Factor between the grids of neighbouring levels, the network's."""
        return network_preset(self.network).step

    @property
    def multiple(self) -> int:
        """Sides of the images are cropped to a multiple of this."""
        return int(self.step ** (self.levels - 1)) * self.reduction

    @property
    def factors(self) -> tuple[int, ...]:
        """Factors per axis whose measurements' robust maxima the images are scaled by: 2x and 4x
        also where the levels do not reach that far, because data steps do."""
        return (2, max(4, self.multiple))

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """The inverse of ``json.dumps(asdict(config))``; TypeError for unknown settings."""
        stored = json.loads(text)
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()
        }
        return cls(**values)

    @staticmethod
    def upgraded(text: str, level: int) -> tuple[str, tuple[int, int]]:
        """Stored settings of versions whose ``images`` were the U-Net's alone, as they are stored
        now, and the patches of the stages of a level that was trained with them."""
        stored = json.loads(text)
        networks = network_preset(stored["network"]).levels[level - 1]
        branch = stored.get("mean_images", 0) if networks.mean else 0
        unet = stored["images"] if networks.unet else 0
        shared = networks.mean and networks.unet
        stored |= {"images": max(branch + unet, 1), "mean_images": branch if shared else None}
        return json.dumps(stored), (branch, unet)

    def learning_rate(self, done: float) -> float:
        """Share of the reference rate after the share ``done`` of a stage (Karras et al. 2024,
        eq. 67, with a linear end)."""
        ramp = min(1.0, (done + 1e-6) / self.ramp_share)
        decay = max(done / self.reference_share, 1.0) ** -0.5
        cooldown = min(1.0, max(1.0 - done, 0.0) / self.cooldown_share)
        return ramp * decay * cooldown


def check_exclusion(text: str) -> tuple[str, str]:
    """Field and word of ``FIELD=WORD``; MRCascadeError for anything else."""
    field, _, word = text.partition("=")
    if not field.strip() or not word.strip():
        raise MRCascadeError(f"--exclude {text}: give FIELD=WORD, such as contrast=FLAIR")
    return field.strip(), word.strip()
