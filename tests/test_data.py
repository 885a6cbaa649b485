import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from unshrink.errors import ConfigError
from unshrink.pictures.resize import crop_to_multiple, resize
from unshrink.training.config import DataConfig
from unshrink.training.data import Crops, Pixels, busyness, read_rgb
from unshrink.training.distributed import Processes


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40 + i, 50, 3), np.uint8)).save(tmp_path / f"{i}.png")
    return str(tmp_path)


def batches(crops: Crops, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(itertools.islice(crops, count))


def test_batches_have_the_stated_shapes_and_ranges(folder):
    hr, reference = batches(Crops(DataConfig((folder,), crop=16, batch=5), 4, 0), 1)[0]
    assert hr.shape == (5, 3, 16, 16)
    assert reference.shape == (5, 3, 4, 4)
    assert hr.min() >= 0
    assert hr.max() <= 1


def test_the_reference_is_cut_from_the_bicubic_of_the_whole_picture(folder):
    """Every crop is found again in its picture, and its reference at the same place of the small picture."""
    crops = Crops(DataConfig((folder,), crop=8, batch=20), 2, 0)
    pictures = [crop_to_multiple(read_rgb(path), 2) for path in crops.files]
    hr, reference = batches(crops, 1)[0]
    for large, small in zip(hr, reference, strict=True):
        large, small = (np.asarray(image.permute(1, 2, 0)) * 255 for image in (large, small))
        assert any(found_at_one_place(picture, large, small, turn) for picture in pictures for turn in range(8))


def found_at_one_place(picture: np.ndarray, large: np.ndarray, small: np.ndarray, turn: int) -> bool:
    turned = np.rot90(picture, turn % 4)
    turned = turned[:, ::-1] if turn >= 4 else turned
    windows = np.lib.stride_tricks.sliding_window_view(turned, (8, 8), axis=(0, 1))[::2, ::2]
    hits = np.argwhere((windows == np.rint(large).transpose(2, 0, 1)).all(axis=(2, 3, 4)))
    whole = resize(turned, (turned.shape[1] // 2, turned.shape[0] // 2))
    return any(np.allclose(whole[y : y + 4, x : x + 4], small, atol=1e-2) for y, x in hits)


def test_the_state_is_the_whole_position(folder):
    config = DataConfig((folder,), crop=16, batch=2, candidates=3)
    crops = Crops(config, 2, seed=1)
    batches(crops, 3)
    state = crops.state()
    expected = batches(crops, 2)
    other = Crops(config, 2, seed=99)
    other.restore(state)
    for (a, b), (c, d) in zip(batches(other, 2), expected, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_candidates_choose_busier_crops(tmp_path):
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = np.random.default_rng(0).integers(0, 256, (64, 32, 3))
    Image.fromarray(half).save(tmp_path / "half.png")

    def detail(candidates: int, calm: float = 0.0) -> float:
        config = DataConfig((str(tmp_path),), crop=16, batch=40, candidates=candidates, calm=calm)
        hr, _ = batches(Crops(config, 2, 0), 1)[0]
        return float(busyness((hr * 255).byte().permute(0, 2, 3, 1)).float().mean())

    assert detail(4) > 1.2 * detail(1)
    assert detail(4, calm=1.0) == pytest.approx(detail(1), rel=0.15), "calm crops are the first drawn"


def test_shares_weigh_the_folders(tmp_path):
    for name, value in (("dark", 0), ("light", 255)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((20, 20, 3), value, np.uint8)).save(tmp_path / name / "a.png")
    folders = (str(tmp_path / "dark"), str(tmp_path / "light"))
    hr, _ = batches(Crops(DataConfig(folders, (0.9, 0.1), crop=4, batch=500), 2, 0), 1)[0]
    assert hr.mean() == pytest.approx(0.1, abs=0.05)


def test_the_eight_symmetries_are_those_of_the_square():
    """Two pictures, so that the second begins somewhere; a crop of it that touches no edge."""
    sizes = np.array([(3, 4), (5, 7)])
    pixels, picture = Pixels(sizes, torch.uint8), np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    pixels.put(0, np.zeros((3, 4, 3), np.uint8))
    pixels.put(1, picture)
    one, turn = np.ones(8, np.int64), np.arange(8)
    walks = pixels.walks(one, one, 2 * one, turn, 3)
    cut = pixels.cut(torch.from_numpy(walks), 3).numpy()
    straight = picture[1:4, 2:5]
    turned = [np.rot90(side, quarter) for side in (straight, straight[:, ::-1]) for quarter in range(4)]
    assert {crop.tobytes() for crop in cut} == {crop.tobytes() for crop in turned}


def test_processes_share_the_batch_that_one_would_take(folder, monkeypatch):
    config = DataConfig((folder,), crop=16, batch=6, candidates=3)
    loaded = Crops(config, 2, seed=5)
    whole = batches(loaded, 3)
    monkeypatch.setattr(Processes, "merge", lambda self, values: None)
    monkeypatch.setattr(Crops, "_load", lambda self, index, path: None)
    parts = []
    for rank in range(3):
        crops = Crops(config, 2, 5, Processes(rank, 3))
        crops.hr, crops.reference = loaded.hr, loaded.reference
        parts.append(batches(crops, 3))
    for i, pair in enumerate(whole):
        for j, tensor in enumerate(pair):
            assert torch.equal(tensor, torch.cat([part[i][j] for part in parts]))


def test_a_damaged_picture_is_named(tmp_path, folder):
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    with pytest.raises(ConfigError, match=r"cannot read the picture .*1\.png"):
        Crops(DataConfig((folder,), crop=16), 2, 0)
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"cannot read the picture .*1\.png"):
        Crops(DataConfig((folder,), crop=16), 2, 0)


def test_unusable_folders_are_named(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no pictures in .*empty"):
        Crops(DataConfig((str(tmp_path / "empty"),)), 2, 0)
    with pytest.raises(ConfigError, match=r"50x40, smaller than data.crop = 48"):
        Crops(DataConfig((folder,), crop=48), 2, 0)
    with pytest.raises(ConfigError, match="names no folder"):
        Crops(DataConfig(), 2, 0)
