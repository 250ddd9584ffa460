"""Shapes of the networks of each level, and the named presets."""

from __future__ import annotations

from dataclasses import dataclass

from mrcascade.errors import MRCascadeError

# Bounds for values from files, beyond the largest published networks of this kind (1024 channels,
# 15 blocks).
_MOST_CHANNELS = 4096
_MOST_BLOCKS = 64
_MOST_RESOLUTIONS = 8
_LARGEST_STEM = 64


def _check_whole(name: str, value: object, most: int, least: int = 1) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f"{name} {value!r} is not a whole number from {least} to {most}")


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the EDM2 U-Net of one level (Karras et al. 2024, figure 21).

    Raises ValueError for shapes that no network has.

    Attributes:
        channels: base width.
        multipliers: width per resolution, finest first, in units of ``channels``.
        blocks: residual blocks per resolution in the encoder; the decoder has one more.
        attention: indices of the resolutions with self-attention, 0 for the finest.
        stem: space-to-depth factor before the first and after the last convolution.
    """

    channels: int
    multipliers: tuple[int, ...] = (1, 2, 3, 4)
    blocks: int = 3
    attention: tuple[int, ...] = ()
    stem: int = 1

    def __post_init__(self) -> None:
        _check_whole("channels", self.channels, _MOST_CHANNELS)
        _check_whole("resolutions", len(self.multipliers), _MOST_RESOLUTIONS)
        for multiplier in self.multipliers:
            _check_whole("multiplier", multiplier * self.channels, _MOST_CHANNELS)
        _check_whole("blocks", self.blocks, _MOST_BLOCKS)
        _check_whole("stem", self.stem, _LARGEST_STEM)
        for depth in self.attention:
            _check_whole("attention", depth, len(self.multipliers) - 1, least=0)

    @property
    def multiple(self) -> int:
        """Unit of the sides inside the network: it pads images to a multiple of it."""
        return self.stem * 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class MeanConfig:
    """Shape of the residual CNN that predicts a band's conditional mean (``networks.mean``).

    Raises ValueError for shapes that no network has.

    Attributes:
        channels: width.
        blocks: residual blocks.
        stem: space-to-depth factor before the first and after the last convolution.
    """

    channels: int
    blocks: int
    stem: int = 2

    def __post_init__(self) -> None:
        _check_whole("channels", self.channels, _MOST_CHANNELS)
        _check_whole("blocks", self.blocks, _MOST_BLOCKS)
        _check_whole("stem", self.stem, _LARGEST_STEM)


@dataclass(frozen=True)
class LevelConfig:
    """Networks of one level; ``mean`` is None for the unconditional coarsest level, ``unet``
    where a level is only regressed or only given. With ``data`` the condition holds what the
    measurement says of the band. With ``demodulated`` the networks of complex images see them
    without the local phase of the condition. ValueError for either at a level without a
    condition."""

    unet: UNetConfig | None
    mean: MeanConfig | None = None
    data: bool = False
    demodulated: bool = False

    def __post_init__(self) -> None:
        for name in ("data", "demodulated"):
            value = getattr(self, name)
            if not isinstance(value, bool) or (value and self.mean is None):
                raise ValueError(f"{name} {value!r} does not fit a level with mean {self.mean}")


@dataclass(frozen=True)
class CascadeConfig:
    """Networks of all levels, finest first; the grids of neighbours differ by ``step``.

    With ``slices`` they learn from thick slices alone, along the row index."""

    levels: tuple[LevelConfig, ...]
    step: int = 2
    slices: bool = False


def _level(
    unet: tuple[int, tuple[int, ...], int, tuple[int, ...], int] | None = None,
    mean: tuple[int, int] | None = None,
) -> LevelConfig:
    return LevelConfig(
        None if unet is None else UNetConfig(*unet), None if mean is None else MeanConfig(*mean)
    )


# Presets, finest level first. A band is easier to model than an image, so the finest level has a
# narrow network at half resolution, behind its stem (paper, sections 3.2 and 4.2).
NETWORKS: dict[str, CascadeConfig] = {
    "tiny": CascadeConfig(
        (
            _level((8, (1, 2), 1, (), 2), (8, 1)),
            _level((8, (1, 2), 1, (), 2), (8, 1)),
            _level((8, (1, 2), 1, (1,), 2)),
        ),
    ),
    "mini": CascadeConfig(
        (
            _level((16, (1, 2, 2), 1, (), 2), (48, 6)),
            _level((16, (1, 2, 2), 1, (), 2), (48, 6)),
            _level((16, (1, 2, 2), 1, (2,), 2)),
        ),
    ),
    "small": CascadeConfig(
        (
            _level((32, (1, 2, 2), 1, (), 2), (64, 8)),
            _level((32, (1, 2, 2), 1, (), 2), (64, 8)),
            _level((32, (1, 2, 2), 1, (2,), 2)),
        ),
    ),
    # Baselines of the cascade: a prior of the whole image, and a regression network for 4x with as
    # many weights as the two branches of "small".
    "small-single": CascadeConfig((_level((32, (1, 2, 2, 2), 1, (3,), 2)),)),
    "small-regression": CascadeConfig((_level(mean=(96, 7)), _level()), step=4),
    # Regression of planes through thick slices, up to 8 samples apart.
    "tiny-slices": CascadeConfig((_level(mean=(8, 1)), _level()), step=16, slices=True),
    "small-slices": CascadeConfig((_level(mean=(64, 8)), _level()), step=16, slices=True),
    "xs": CascadeConfig(
        (
            _level((64, (1, 2, 3), 2, (), 2), (96, 12)),
            _level((96, (1, 2, 3), 2, (), 2), (96, 12)),
            _level((96, (1, 2, 3), 2, (1, 2), 1)),
        ),
    ),
    "s": CascadeConfig(
        (
            _level((128, (1, 2, 3), 2, (), 2), (128, 16)),
            _level((160, (1, 2, 3), 2, (), 2), (128, 16)),
            _level((128, (1, 2, 3, 4), 2, (2, 3), 1)),
        ),
    ),
}


def register_network(name: str, cascade: CascadeConfig) -> CascadeConfig:
    """Add a preset to the table for the trainings of this process.

    Returns the preset. Raises MRCascadeError if its name is taken.

    Example:
        >>> levels = NETWORKS["tiny"].levels
        >>> wide = LevelConfig(levels[0].unet, MeanConfig(channels=16, blocks=2))
        >>> register_network("wide", CascadeConfig((wide, *levels[1:]))).step
        2
        >>> network_preset("wide").levels[0].mean
        MeanConfig(channels=16, blocks=2, stem=2)
        >>> del NETWORKS["wide"]
    """
    if name in NETWORKS:
        raise MRCascadeError(f"a network {name!r} exists already; choose another name")
    NETWORKS[name] = cascade
    return cascade


def network_preset(name: str) -> CascadeConfig:
    """Return the preset ``name`` of ``NETWORKS``. Raises MRCascadeError for unknown names."""
    if name not in NETWORKS:
        raise MRCascadeError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name]
