"""Programs of tools/: the folder of photographs."""

import itertools

import numpy as np
import pytest
from PIL import Image

from autolabel_jax.datasets import folder
from tools import photographs


def test_groups_hold_each_class_once():
    groups = photographs.members()
    numbers = list(itertools.chain(*groups.values()))
    assert len(groups) == 10
    assert len(numbers) == len(set(numbers)) == 664
    assert set(numbers) <= set(range(1000))
    # Three classes of ImageNet's list: hen, Chihuahua, airliner.
    for name, number in (("bird", 8), ("dog", 151), ("vehicle", 404)):
        assert number in groups[name]


def test_a_folder_is_written_and_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(photographs, "GROUPS", {"bird": "0-3"})
    monkeypatch.setattr(photographs, "FIRST", 400)
    monkeypatch.setattr(photographs, "MOST", 2)
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    with pytest.raises(SystemExit):
        photographs.main([str(source), str(target)])
    assert f"{source}: has 0 photographs n*.JPEG, expected 1000" in capsys.readouterr().err
    # 300 wide and 100 high: black but for a white middle third.
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255
    Image.fromarray(pixels).save(source / "n00000000_first.JPEG", quality=95)
    content = (source / "n00000000_first.JPEG").read_bytes()
    for number in range(1, 1000):
        (source / f"n{number:08d}_x.JPEG").write_bytes(content)
    photographs.main([str(source), str(target)])
    train, val, classes = folder.read(str(target))
    assert classes == ("bird", "thing")
    assert [len(train), len(val)] == [3, 3]
    found = np.asarray(Image.open(target / "train" / "bird" / "002.jpg"))
    assert found.shape == (224, 224, 3)
    assert found.min() > 240  # the middle third is 256 pixels wide, of which 224 are left
