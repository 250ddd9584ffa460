"""The slice cache: rounding, checksums, reading by slice, and the command that writes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_training_slices import save, stack
from training_data import TINY, assert_same, trainer, volume, volumes

from mrcascade import MRCascadeError
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.cli import main
from mrcascade.training.bands import BandMemory, BandSlices
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.draws import StepDraws
from mrcascade.training.slice_cache import (
    LEVELS,
    SliceCache,
    from_numbers,
    new_cache,
    packed_volumes,
    to_numbers,
    write_cache,
)
from mrcascade.training.slices import load_volumes, read_folder
from mrcascade.training.volume import Volume


def content(path: Path) -> tuple[list[dict], dict[str, bytes]]:
    """The index of a cache, and every chunk as it is stored."""
    with h5py.File(path) as file:
        sets = {f"slices/{name}": part for name, part in file["slices"].items()}
        sets["ranges"] = file["ranges"]
        chunks = {}
        for name, dataset in sets.items():
            for number in range(dataset.id.get_num_chunks()):
                info = dataset.id.get_chunk_info(number)
                _, raw = dataset.id.read_direct_chunk(info.chunk_offset)
                chunks[f"{name} {info.chunk_offset}"] = raw
        return json.loads(bytes(file["index"][:])), chunks


# ---- values ----


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_values_are_within_half_a_step_of_their_slice(tmp_path: Path, kind: str) -> None:
    original = volumes()
    images = original[0].slices - 0.2  # ringing is negative
    images[1] /= 50  # a dim slice has small steps
    images = with_simulated_phase(images, "x") if kind == "complex" else images
    original[0] = replace(original[0], slices=images, simulated=kind == "complex")
    original = original[: 1 if kind == "complex" else 3]
    write_cache(original, tmp_path / "c.hdf5")
    loaded = load_volumes(tmp_path / "c.hdf5", 4, (2, 4))
    for before, after in zip(original, loaded, strict=True):
        assert replace(after, slices=before.slices) == before
        assert after.slices.dtype == before.slices.dtype
        for a, b in zip(before.slices, after.slices, strict=True):
            parts = [np.stack([x.real, x.imag]) if np.iscomplexobj(x) else x for x in (a, b)]
            step = float(np.ptp(parts[0])) / LEVELS
            # Nothing is air here, so nothing is cut. Float32 adds a few roundings of values
            # below 2.
            error = np.abs(parts[0] - parts[1]).max()
            assert step / 4 < error <= step / 2 + 4 * 2.0**-24


def test_ends_of_the_range_and_constants_are_exact() -> None:
    for image in (np.full((3, 2), -1.7, np.float32), np.array([[0.1, 0.7], [0.3, 0.5]])):
        numbers, low, step = to_numbers(image.astype(np.float32))
        assert numbers.max() in (0, LEVELS)
        found = from_numbers(numbers, low, step)
        assert found.min() == np.float32(image.min())
        assert found.max() == pytest.approx(image.max(), rel=2 * 2.0**-24)


def test_air_is_cut_away(tmp_path: Path) -> None:
    image = np.zeros((2, 96, 80), np.float32)
    image[:, 40:61, 25:50] = np.moveaxis(stack(2), -1, 0)[:, :21, :25] + 0.5
    write_cache([Volume("a", "a", "train", image, {2: 1.0, 4: 1.0})], tmp_path / "c.hdf5")
    (loaded,) = load_volumes(tmp_path / "c.hdf5", 1, (2, 4))
    # Eight pixels of margin, the start rounded down to a multiple of four.
    expected = image[:, 32 : 61 + 8, 16 : 50 + 8]
    assert loaded.slices.shape == expected.shape
    step = float(image.max()) / LEVELS
    np.testing.assert_allclose(list(loaded.slices), expected, atol=step / 2 + 4 * 2.0**-24)
    (cropped,) = load_volumes(tmp_path / "c.hdf5", 8, (2, 4))  # 37 x 42 to 32 x 40, centred
    np.testing.assert_array_equal(
        list(cropped.slices), np.stack(list(loaded.slices))[:, 2:34, 1:41]
    )


# ---- reading ----


def test_a_slice_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And opening a cache reads none, nor do weights, copies and the identity of the data."""
    write_cache(volumes(), tmp_path / "c.hdf5")
    read, original = [], SliceCache.read

    def counted(store: SliceCache, number: int, place: int) -> np.ndarray:
        read.append((number, place))
        return original(store, number, place)

    monkeypatch.setattr(SliceCache, "read", counted)
    data = CascadeData(load_volumes(tmp_path / "c.hdf5", 4, (2, 4)), TINY)
    data.identity()
    source = data.source(data.shown, 1)
    assert read == []
    bands = BandSlices(data.shown, 1, TINY)
    for index in (7, 0, 7, 16):  # the third from memory; 16 is the copy of 7
        assert bands[index].stack.shape[-1] <= 48
    assert read == [(1, 1), (0, 0), (1, 1)]
    source.draw(np.random.default_rng(0), 0)
    assert len(read) > 3


def test_memory_for_bands_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty times as many slices, the same bytes."""
    peaks = {}
    for repeats in (1, 20):
        many = volumes()[:1] * repeats
        size = BandSlices(many, 1, TINY)[0].stack.nbytes
        memory = BandMemory(4 * size)
        bands = BandSlices(many, 1, TINY, memory)
        held = []
        for index in range(len(bands)):
            bands[index]
            held.append(memory.held)
        assert memory.made == len(many) * 6
        peaks[repeats] = max(held)
        before = memory.made
        bands[len(bands) - 1]  # the last ones are held
        assert memory.made == before
    assert peaks[1] == peaks[20]
    assert 3 * size < peaks[1] <= 4 * size


def test_memory_changes_no_patch(tmp_path: Path) -> None:
    write_cache(volumes(), tmp_path / "c.hdf5")
    volume_list = load_volumes(tmp_path / "c.hdf5", 4, (2, 4))
    config = replace(TINY, blur_share=0.5)
    drawn = []
    for memory in (0, 2**30):
        data = CascadeData(volume_list, config, slice_memory=memory)
        source = data.source(data.shown, 1, changing=True)
        drawn.append(source.raw(40, np.random.default_rng(1)))
    np.testing.assert_array_equal(*drawn)


def test_cache_and_folder_give_the_same_training(tmp_path: Path) -> None:
    """Bit by bit, with patches that are drawn ahead by threads and without."""
    for name in ("brain/train/a", "brain/val/b", "knee/train/c"):
        save(tmp_path / "data", f"{name}.npy", stack(3, seed=len(name)))
    write_cache(read_folder(tmp_path / "data", (2, 4)), tmp_path / "c.hdf5")
    states = []
    for data in (tmp_path / "data", tmp_path / "c.hdf5"):
        run = trainer(data)
        losses = [run.step() for _ in range(2)]
        states.append({"losses": losses, "networks": run.networks.state_dict()})
    assert_same(*states)
    ahead = run.patches.take(StepDraws(1, TINY, 16, slice(0, 8)))
    draws = StepDraws(1, TINY, 16, slice(0, 8))
    at_once = np.stack([draws.patch(run.data.train, i) for i in draws.images])
    np.testing.assert_array_equal(ahead, at_once)


# ---- damage ----


class Broken(list[int]):
    """Slices of a file that cannot be read."""

    shape, dtype = (1, 48, 48), np.dtype(np.float32)

    def __len__(self) -> int:
        return 1 // 0


@pytest.mark.parametrize("damage", ["empty", "text", "short", "other", "unfinished"])
def test_what_is_no_cache_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "c.hdf5"
    write_cache([volume()], path)
    whole = path.read_bytes()
    bad = {"empty": b"", "text": b"hello", "short": whole[:-300]}
    if damage in bad:
        path.write_bytes(bad[damage])
    elif damage == "other":
        with h5py.File(path, "w") as file:
            file["a"] = np.zeros(3)
    else:
        path = tmp_path / "d.hdf5"
        with pytest.raises(ZeroDivisionError):
            write_cache([volume(), replace(volume(), slices=Broken())], path)
        assert not path.exists()
    expected = "does not exist" if damage == "unfinished" else "not a slice cache, or damaged"
    with pytest.raises(MRCascadeError, match=expected) as error:
        load_volumes(path, 4, (2, 4))
    assert str(error.value).startswith(f"{path}: ")
    assert "'mrcascade cache'" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    """In the index, in a range, and in every byte that is tried of the slices."""
    path = tmp_path / "c.hdf5"
    write_cache([volume()], path)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        tables = [file[name].id.get_chunk_info(0) for name in ("index", "ranges")]
        chunks = [file["slices/0"].id.get_chunk_info(n) for n in range(4)]
    for info in tables:
        flip(path, whole, info.byte_offset + info.size // 2)
        with pytest.raises(MRCascadeError, match="not a slice cache, or damaged"):
            load_volumes(path, 4, (2, 4))
    for place, info in enumerate(chunks):
        for byte in np.linspace(0, info.size - 1, 12).astype(int):
            flip(path, whole, info.byte_offset + int(byte))
            (loaded,) = load_volumes(path, 4, (2, 4))
            with pytest.raises(MRCascadeError) as error:
                loaded.slices[place]
            told = f"{path}: damaged, slice {place + 1} of {loaded.file} cannot be read ("
            assert str(error.value).startswith(told)
            assert str(error.value).endswith("make the cache again with 'mrcascade cache'")
            assert "\n" not in str(error.value)
            assert loaded.slices[(place + 1) % 4].shape == (48, 48)  # others are as they were


def flip(path: Path, content: bytes, byte: int) -> None:
    changed = bytearray(content)
    changed[byte] ^= 16
    path.write_bytes(changed)


def test_other_endings_and_options_of_the_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MRCascadeError, match=r"a cache ends in \.hdf5; make it again with"):
        load_volumes(tmp_path / "c.npz", 4, (2, 4))
    write_cache(volumes(), tmp_path / "c.hdf5")
    with pytest.raises(MRCascadeError, match="the phase of a cache is simulated when it is made"):
        load_volumes(tmp_path / "c.hdf5", 4, (2, 4), phase_seed=0)


# ---- the command ----


def test_parallel_is_serial(tmp_path: Path) -> None:
    """Parts that other processes encode give the cache of one process, chunk by chunk."""
    found = volumes()
    write_cache(found, tmp_path / "one.hdf5")
    parts = [packed_volumes([v]) for v in reversed(found)]
    with new_cache(tmp_path / "parts.hdf5") as writer:
        for part in reversed(parts):
            writer.add_part(part)
        writer.finish("parts")
    assert content(tmp_path / "one.hdf5") == content(tmp_path / "parts.hdf5")


def test_cache_command_leaves_the_test_split_out(tmp_path: Path, capsys) -> None:
    for split in ("train", "val", "test"):
        save(tmp_path / "data", f"brain/{split}/a.npy", stack(2))
    target = tmp_path / "c.hdf5"
    arguments = ["cache", "--data", str(tmp_path / "data"), "-o", str(target)]
    assert main(arguments) == 0
    assert "4 slices of 2 files" in capsys.readouterr().out
    assert sorted(v.split for v in load_volumes(target, 4, (2, 4))) == ["train", "val"]
    assert main(arguments) == 2
    assert "already exists" in capsys.readouterr().err
    before = target.read_bytes()
    assert main([*arguments, "--overwrite"]) == 0
    assert target.read_bytes() == before
    with h5py.File(target, "w") as file:  # somebody's
        file["a"] = np.zeros(3)
    mine = target.read_bytes()
    assert main([*arguments, "--overwrite"]) == 2
    assert "is not known as a file of mrcascade" in capsys.readouterr().err
    assert target.read_bytes() == mine
    assert main([*arguments[:-1], str(tmp_path / "c.zip")]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.hdf5", "data"]


def test_images_of_two_kinds_leave_nothing(tmp_path: Path, capsys) -> None:
    save(tmp_path / "data", "train/a.npy", stack())
    save(tmp_path / "data", "train/b.npy", stack().astype(np.complex64))
    assert main(["cache", "--data", str(tmp_path / "data"), "-o", str(tmp_path / "c.hdf5")]) == 2
    assert "is a magnitude image and" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.slow
def test_worker_processes_write_the_same_file(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / "data", f"brain/train/{number}.npy", stack(2, seed=number))
    given = ["cache", "--data", str(tmp_path / "data"), "-o"]
    assert main([*given, str(tmp_path / "1.hdf5")]) == 0
    assert main([*given, str(tmp_path / "2.hdf5"), "--workers", "2"]) == 0
    assert (tmp_path / "1.hdf5").read_bytes() == (tmp_path / "2.hdf5").read_bytes()
