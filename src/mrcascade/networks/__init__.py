"""Networks of a prior: EDM2 layers, the U-Net, the regression branch, presets."""

from mrcascade.networks.config import (
    NETWORKS,
    CascadeConfig,
    LevelConfig,
    MeanConfig,
    UNetConfig,
    network_preset,
    register_network,
)
from mrcascade.networks.layers import fold
from mrcascade.networks.mean import MeanNetwork
from mrcascade.networks.unet import LogVariance, UNet, count_flop, parameter_count

__all__ = [
    "NETWORKS",
    "CascadeConfig",
    "LevelConfig",
    "LogVariance",
    "MeanConfig",
    "MeanNetwork",
    "UNet",
    "UNetConfig",
    "count_flop",
    "fold",
    "network_preset",
    "parameter_count",
    "register_network",
]
