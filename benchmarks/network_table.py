"""Print the table of docs/guide/networks.md: parameters and cost of every network preset.

python benchmarks/network_table.py
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from mrcascade.networks import NETWORKS, LevelConfig, count_flop, fold, parameter_count
from mrcascade.prior.denoiser import LevelNetworks

OUTPUT_SIDE = 256

HEADER = (
    "| network | level | grid | width, multipliers, blocks | stem | attention at"
    " | U-Net parameters | GFLOP per evaluation | regression parameters | GFLOP once |\n"
    "| --- | ---: | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: |"
)


def table(names: Iterable[str] = NETWORKS) -> str:
    """Return the table in Markdown, finest level first, with costs for a 256 x 256 output."""
    rows = [
        _row(name, level, OUTPUT_SIDE // NETWORKS[name].step ** (level - 1), config)
        for name in names
        for level, config in enumerate(NETWORKS[name].levels, start=1)
    ]
    return "\n".join([HEADER, *rows])


def _row(name: str, level: int, side: int, config: LevelConfig) -> str:
    with torch.device("meta"):  # both figures depend on shapes alone
        networks = LevelNetworks(config, channels=1)
        unet, mean = networks.unet, networks.mean
        sizes = [None if n is None else parameter_count(n) for n in (unet, mean)]
        fold(networks)
        inputs = [torch.zeros(1, 1, side, side), torch.zeros(1)]
        if unet is not None and config.mean:  # condition, its error, regression
            inputs.append(unet(torch.zeros(1, 3, side, side)))
        costs = [
            None if unet is None else count_flop(unet, *inputs) / 1e9,
            None if mean is None else count_flop(mean, torch.zeros(1, 2, side, side)) / 1e9,
        ]
    shape = ["-", "-", "-"]
    if (u := config.unet) is not None:
        scales = ", ".join(f"1/{u.stem * 2**i}" for i in u.attention)
        multipliers = "-".join(map(str, u.multipliers))
        shape = [f"{u.channels}, {multipliers}, {u.blocks}", str(u.stem), scales or "-"]
    cells = [name, str(level), f"{side}x{side}", *shape]
    for size, cost in zip(sizes, costs, strict=True):
        cells += ["-", "-"] if size is None or cost is None else [f"{size:,}", f"{cost:.2f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table())
