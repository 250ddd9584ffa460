"""Assignment of the frames at each slice position to volumes.

Elements with a meaning in the standard decide: echo time, b-value and gradient, temporal position,
times of trigger and acquisition. Instance numbers have none (some exports draw them at random).
They order volumes that other marks distinguish, and distinguish volumes only where they follow an
order.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import pairwise

from mrcascade.errors import MRCascadeError
from mrcascade.io.dicom.frames import Frame

# Marks that describe the signal; within volumes alike in these, time must run forwards.
_SIGNAL = ("echo time", "b-value", "gradient", "inversion time", "flip angle", "label")
_TIME = ("time", "time offset", "cardiac phase")

Positions = Sequence[Sequence[Frame]]
_Rank = tuple[int, ...]


def in_volumes(positions: Positions, where: str) -> list[list[Frame]]:
    """Sort the frames of each slice position so that those of one volume have the same index.

    Args:
        positions: slice by slice, with equally many frames each.
        where: name of the series in messages.

    Raises:
        MRCascadeError: positions differ in echo times, b-values or temporal positions, or nothing
            distinguishes the frames of a position.
    """
    if len(positions[0]) == 1:
        return [list(frames) for frames in positions]
    names = _labels(positions, where)
    ranks, timed = _ranks(positions, names, where)

    def key(frame: Frame) -> tuple[object, ...]:
        return (*(_mark(frame, name) for name in names), ranks[id(frame)])

    def moment(frame: Frame) -> tuple[object, ...]:
        rank = ranks[id(frame)] if timed else ()
        return (*(_mark(frame, name) for name in _TIME), rank)

    numbered = [sorted(frames, key=by_number) for frames in positions]
    sequences = [[key(frame) for frame in frames] for frames in numbered]
    if all(s == sequences[0] for s in sequences) and _forwards(numbered[0], moment):
        return numbered
    return [sorted(frames, key=key) for frames in positions]


def by_number(frame: Frame) -> tuple[tuple[float, ...], str, int]:
    """Sort key of frames by their numbers."""
    return frame.marks.order, str(frame.file), frame.index


def _mark(frame: Frame, name: str) -> tuple[float | str, ...]:
    return frame.marks.volume.get(name) or frame.marks.loose.get(name) or ()


def _moment(name: str, frame: Frame) -> tuple[float | str, ...] | None:
    return frame.marks.moments.get(name) or None


def _labels(positions: Positions, where: str) -> list[str]:
    """Return the marks whose combinations are the same at every position."""
    first = positions[0][0].marks
    names: list[str] = []
    for name in first.volume:
        if not _alike(positions, [name]):
            raise MRCascadeError(
                f"{where} has different {name}s at different slice positions, so some images are"
                " missing or belong to another series; export it again"
            )
        names.append(name)
    if not _alike(positions, names):
        raise MRCascadeError(
            f"{where} combines {', '.join(first.volume)} differently at different slice positions,"
            " so some images are missing or belong to another series; export it again"
        )
    for name in first.loose:
        if _alike(positions, [*names, name]):
            names.append(name)
    return names


def _alike(positions: Positions, names: Sequence[str]) -> bool:
    counts = [Counter(tuple(_mark(f, n) for n in names) for f in frames) for frames in positions]
    return all(count == counts[0] for count in counts)


def _ranks(positions: Positions, names: Sequence[str], where: str) -> tuple[dict[int, _Rank], bool]:
    """Return the rank of each frame (by id) among equal marks, and whether time gives it."""
    groups = [_grouped(frames, names) for frames in positions]
    if all(len(group) == 1 for found in groups for group in found.values()):
        return {id(frame): () for frames in positions for frame in frames}, False
    for name in positions[0][0].marks.moments:
        ranks = _ranked(groups, partial(_moment, name))
        if ranks is not None:
            return ranks, True
    ranks = _ranked(groups, _number)
    numbers = [frame.marks.number for frames in positions for frame in frames]
    if ranks is not None and len(set(numbers)) == len(numbers) and _regular(groups):
        return ranks, False
    raise MRCascadeError(
        f"{where} has {len(positions[0])} images at each slice position, and nothing tells which"
        " belong together: no echo time, b-value, time or acquisition number does, and their"
        " instance numbers follow no order; export it again, each volume as a series of its own"
    )


def _number(frame: Frame) -> tuple[float, ...] | None:
    return frame.marks.number or None


def _grouped(frames: Sequence[Frame], names: Sequence[str]) -> dict[Hashable, list[Frame]]:
    groups: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(tuple(_mark(frame, name) for name in names), []).append(frame)
    return groups


def _ranked(
    groups: Sequence[dict[Hashable, list[Frame]]], value: Callable[[Frame], object]
) -> dict[int, _Rank] | None:
    """Rank frames by a value that is unique within its group; None where a frame lacks one."""
    ranks: dict[int, _Rank] = {}
    for group in (g for found in groups for g in found.values()):
        values = [value(frame) for frame in group]
        if len(group) > 1 and (None in values or len(set(values)) < len(values)):
            return None
        ordered = sorted(group, key=value) if len(group) > 1 else group  # type: ignore[arg-type]
        ranks |= {id(frame): (place,) for place, frame in enumerate(ordered)}
    return ranks


def _regular(groups: Sequence[dict[Hashable, list[Frame]]]) -> bool:
    """Return whether numbers run volume by volume or slice by slice, in every group."""
    for label in groups[0]:
        rows = [sorted(frame.marks.number for frame in found[label]) for found in groups]
        columns = list(zip(*rows, strict=True))
        if not (_one_after_another(columns) or _one_after_another(rows)):
            return False
    return True


def _one_after_another(runs: Sequence[Sequence[tuple[float, ...]]]) -> bool:
    ends = sorted((min(run), max(run)) for run in runs)
    return all(a[1] < b[0] for a, b in pairwise(ends))


def _forwards(frames: Sequence[Frame], moment: Callable[[Frame], tuple[object, ...]]) -> bool:
    """Return whether time never runs backwards among frames of the same signal."""
    last: dict[Hashable, tuple[object, ...]] = {}
    for frame in frames:
        signal = tuple(_mark(frame, name) for name in _SIGNAL)
        now = moment(frame)
        if signal in last and now < last[signal]:
            return False
        last[signal] = now
    return True
