"""GRAPPA: missing lines of k-space, from the measured lines around them in all coils.

Griswold et al., Magn Reson Med 47:1202-1210, 2002. A missing sample of a coil is a linear
combination of the measured samples of all coils nearby. The weights, a kernel, are the same all
over k-space. They are fitted by least squares on calibration data, which are fully sampled. Near
the edges of k-space, and for irregular lines, other samples are at hand: there a kernel of its own
uses those. Nothing outside of k-space is taken for zero.

The method is implemented here, as the library that has it (pygrappa) is compiled, brings no build
for every Python and platform, and holds all samples that all missing ones need at once. Here the
kernels of a slice, for all averages and edges, are parts of one matrix of correlations.
"""

from collections.abc import Iterator

import numpy as np

# Measured lines up to this distance from a missing one enter its kernel, at rows up to this one:
# four lines of five samples where every second line is missing, as usual.
REACH_COLUMNS, REACH_ROWS = 3, 2
# Tikhonov's parameter, as a share of the Frobenius norm of the correlations per sample in a kernel.
REGULARISATION = 1e-2
# Numbers in the windows of calibration data that are held at once.
_HELD = 2**21

Offsets = tuple[int, ...]


class Grappa:
    """Kernels of one slice.

    Args:
        calibration: fully sampled lines (coils, rows, lines), complex, at the sampling distances
            of the k-space.
        patterns: (averages, columns), which lines of k-space are measured.
        regularisation: Tikhonov's parameter for the kernels; see `REGULARISATION`. It keeps
            kernels from amplifying noise where calibration data say little.

    Raises ValueError as `check_kernels` does.

    Example: coils that see the same object through shifted sensitivities.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> wide = rng.normal(size=(24, 26)) + 1j * rng.normal(size=(24, 26))
    >>> taps = rng.normal(size=(4, 2))
    >>> kspace = np.stack([a * wide[:, 1:] + b * wide[:, :-1] for a, b in taps])
    >>> measured = np.arange(25) % 2 == 0
    >>> grappa = Grappa(kspace[..., 4:20], measured[None], regularisation=1e-12)
    >>> completed, _ = grappa.complete(kspace * measured, measured)
    >>> bool(np.abs(completed - kspace).max() < 1e-6)
    True
    """

    def __init__(
        self,
        calibration: np.ndarray,
        patterns: np.ndarray,
        regularisation: float = REGULARISATION,
    ) -> None:
        check_kernels(calibration, patterns)
        used = _used(patterns)
        self._coils = len(calibration)
        self._regularisation = regularisation
        around = range(-REACH_ROWS, REACH_ROWS + 1)
        # The target, at (0, 0), comes last.
        self._places = [*((row, column) for column in used for row in around), (0, 0)]
        self._correlations = _correlations(calibration, self._places)
        self._kernels: dict[tuple[Offsets, Offsets], np.ndarray] = {}

    def complete(self, kspace: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, float]:
        """Fill the missing lines of k-space.

        Args:
            kspace: (coils, rows, columns), complex.
            measured: (columns,), which lines are measured; one of the `patterns`.

        Returns:
            The k-space, with measured samples as they are, and the mean variance of the noise in
            it, as a multiple of that in measured samples.
        """
        lines = np.ascontiguousarray(kspace.transpose(2, 1, 0))  # (columns, rows, coils)
        rows = lines.shape[1]
        noise = float(np.count_nonzero(measured)) * rows
        for offsets, columns in kernel_offsets(measured).items():
            for around, first, last in _row_groups(rows):
                kernel = self._kernel(offsets, around).astype(kspace.dtype)
                gain = np.sum(np.abs(kernel) ** 2) / self._coils
                noise += float(gain) * len(columns) * (last - first)
                for column in columns:
                    sources = _sources(lines, column, offsets, around, first, last)
                    lines[column, first:last] = sources @ kernel
        return lines.transpose(2, 1, 0), noise / (rows * measured.size)

    def _kernel(self, offsets: Offsets, around: Offsets) -> np.ndarray:
        """Return the kernel (samples, coils) for sources at columns `offsets` and rows `around`.

        Samples are in the order of columns, rows and coils.
        """
        key = offsets, around
        if key not in self._kernels:
            places = [self._places.index((row, column)) for column in offsets for row in around]
            coils = np.arange(self._coils)
            samples = (np.array(places)[:, None] * self._coils + coils).ravel()
            targets = (len(self._places) - 1) * self._coils + coils
            among = self._correlations[np.ix_(samples, samples)]
            towards = self._correlations[np.ix_(samples, targets)]
            share = self._regularisation * np.linalg.norm(among) / len(samples)
            if share > 0:
                solved = np.linalg.solve(among + share * np.eye(len(samples)), towards)
            else:
                solved = np.linalg.pinv(among, hermitian=True) @ towards
            self._kernels[key] = solved
        return self._kernels[key]


def kernel_offsets(measured: np.ndarray) -> dict[Offsets, list[int]]:
    """Return the missing lines, by the offsets of the measured lines that complete them.

    Args:
        measured: (columns,), bool.

    >>> import numpy as np
    >>> kernel_offsets(np.array([True, False, True, False]))
    {(-1, 1): [1], (-3, -1): [3]}
    """
    found: dict[Offsets, list[int]] = {}
    for column in np.flatnonzero(~measured).tolist():
        nearby = range(-min(REACH_COLUMNS, column), REACH_COLUMNS + 1)
        inside = (o for o in nearby if column + o < measured.size and measured[column + o])
        found.setdefault(tuple(inside), []).append(column)
    return found


def check_kernels(calibration: np.ndarray, patterns: np.ndarray) -> None:
    """Check that kernels can be fitted; the arguments are those of `Grappa`.

    Raises ValueError where the calibration data are smaller than a kernel, or more than
    `REACH_COLUMNS` lines are missing side by side.
    """
    for pattern in patterns:
        measured = np.flatnonzero(np.pad(pattern, 1, constant_values=True))
        if np.diff(measured).max() > REACH_COLUMNS + 1:
            raise ValueError(f"its k-space lacks more than {REACH_COLUMNS} lines side by side")
    _, rows, lines = calibration.shape
    used = _used(patterns)
    height, width = 2 * REACH_ROWS + 1, max(used, default=0) - min(used, default=0) + 1
    if rows < height or lines < width:
        raise ValueError(
            f"its calibration data of {rows} x {lines} samples are smaller than a kernel of"
            f" {height} x {width}"
        )


def _used(patterns: np.ndarray) -> list[int]:
    """Return the column offsets that occur in the kernels for patterns (averages, columns)."""
    groups = [kernel_offsets(pattern) for pattern in patterns]
    return sorted({offset for group in groups for offsets in group for offset in offsets})


def _row_groups(rows: int) -> Iterator[tuple[Offsets, int, int]]:
    """Yield the offsets of the rows of a kernel, and the first and last + 1 row that it is for."""
    edge = REACH_ROWS
    for row in [*range(edge), *range(rows - edge, rows)]:
        low, high = max(-edge, -row), min(edge, rows - 1 - row)
        yield tuple(range(low, high + 1)), row, row + 1
    yield tuple(range(-edge, edge + 1)), edge, rows - edge


def _sources(
    lines: np.ndarray, column: int, offsets: Offsets, around: Offsets, first: int, last: int
) -> np.ndarray:
    """Return the samples (rows, samples) that a kernel combines for rows first to last - 1."""
    low, high = first + around[0], last + around[-1]
    columns = lines[[column + offset for offset in offsets], low:high]
    windows = np.lib.stride_tricks.sliding_window_view(columns, len(around), axis=1)
    # (columns, rows, coils, window) -> (rows, columns, window, coils)
    return windows.transpose(1, 0, 3, 2).reshape(last - first, -1)


def _correlations(calibration: np.ndarray, places: list[tuple[int, int]]) -> np.ndarray:
    """Return the correlations of samples at all pairs of places, (samples, samples), complex128.

    They are sums over all windows of the calibration data. Samples are in the order of places and
    coils.
    """
    coils, rows, lines = calibration.shape
    left, right = min(c for _, c in places), max(c for _, c in places)
    height, width = rows - 2 * REACH_ROWS, lines - (right - left)
    values = calibration.astype(np.complex128).transpose(1, 2, 0)  # (rows, lines, coils)
    size = len(places) * coils
    total = np.zeros((size, size), np.complex128)
    step = max(1, _HELD // (width * size))
    for start in range(0, height, step):
        stop = min(start + step, height)
        parts = [
            values[start + REACH_ROWS + r : stop + REACH_ROWS + r, c - left : c - left + width]
            for r, c in places
        ]
        windows = np.stack(parts, axis=2).reshape(-1, size)
        total += windows.conj().T @ windows
    return total
