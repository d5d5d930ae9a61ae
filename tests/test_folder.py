"""What a scan of folders finds, leaves out, says and refuses."""

import os

import helpers
import numpy as np
import photograph_folders
import pytest
from PIL import Image

from autolabel_jax import datasets
from autolabel_jax.datasets import folder, photographs


@pytest.fixture
def photos(tmp_path):
    """Two training images and a held-out one of each of ant, bee and cat."""
    photograph_folders.write(tmp_path, train=2, held=1)
    return tmp_path


def image(path, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16)).save(path, **settings)


def damage(path):
    path.write_bytes(path.read_bytes()[:200])


def names(records):
    return sorted(os.fsdecode(name) for name in records.name)


def told(photos, recwarn, capsys, **settings):
    """The one line of a scan: a warning if something is left out, else on standard error."""
    recwarn.clear()
    folder.read(str(photos), **settings)
    lines = capsys.readouterr().err.splitlines() + [str(w.message) for w in recwarn]
    assert len(lines) == 1
    return lines[0]


def test_every_usual_ending_is_read(photos):
    for ending in ("JPG", "TiFf", "tif", "webp", "gif", "png", "bmp", "ppm", "jp2", "avif", "tga"):
        image(photos / "train" / "ant" / f"x.{ending}")
    assert len(folder.read(str(photos))[0]) == 6 + 11


def test_a_whole_folder_is_told_without_a_warning(photos, recwarn, capsys):
    line = told(photos, recwarn, capsys)
    assert not recwarn.list
    assert line == f"data_dir: {photos}: read 6 images in train/ and 3 in val/ of 3 classes"


def test_what_is_left_out_is_counted_by_kind(photos, recwarn, capsys):
    ant = photos / "train" / "ant"
    for name in ("._0.jpg", ".DS_Store", "notes.txt", "more.TXT", "x.heic", "README"):
        (ant / name).write_text("no image")
    image(ant / "garden" / "deep" / "1.png")
    image(photos / "train" / "loose.jpg")
    image(photos / "train" / ".ipynb_checkpoints" / "1.jpg")
    (photos / "val" / "dog" / "inside").mkdir(parents=True)
    (photos / "__MACOSX").mkdir()
    os.mkfifo(ant / "pipe.jpg")
    (ant / "zero.jpg").symlink_to("/dev/zero")
    (ant / "broken.jpg").symlink_to("nowhere")
    (ant / "itself.jpg").symlink_to("itself.jpg")
    (ant / "garden" / "round").symlink_to(ant)
    train, _, classes = folder.read(str(photos))
    assert classes == ("ant", "bee", "cat")
    assert names(train)[:4] == ["ant/0.jpg", "ant/1.jpg", "ant/garden/deep/1.png", "bee/0.jpg"]
    line = told(photos, recwarn, capsys)
    assert len(recwarn.list) == 1
    assert line == (
        f"data_dir: {photos}: read 7 images in train/ and 3 in val/ of 3 classes, 1 in nested "
        "folders; left out: empty folders (1), files ending in .heic (1), files ending in .txt "
        "(2), files outside class folders (1), files without ending (1), hidden files and "
        "folders (3), pipes, devices and broken links (4)"
    )


def test_links_to_folders_are_followed(photos, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    image(elsewhere / "1.png")
    for split in ("train", "val"):
        (photos / split / "dog").symlink_to(elsewhere)
    assert folder.read(str(photos))[2] == ("ant", "bee", "cat", "dog")


def test_images_turned_by_their_orientation_are_counted(photos, recwarn, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    image(photos / "val" / "cat" / "turned.jpg", exif=exif)
    for _ in range(2):  # also from the cache
        assert ", 1 turned by their EXIF orientation" in told(photos, recwarn, capsys)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="data_dir: got ''"):
        folder.read("")
    with pytest.raises(FileNotFoundError, match="train is missing; dataset='folder' reads"):
        folder.read(str(tmp_path))
    photograph_folders.write(tmp_path, train=2, held=1, held_name="test")
    assert len(folder.read(str(tmp_path))[1]) == 3
    (tmp_path / "val").mkdir()
    with pytest.raises(ValueError, match="without an image in val/ant, val/bee, val/cat; each"):
        folder.read(str(tmp_path))


def test_no_image_at_all(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "ant").mkdir(parents=True)
    image(tmp_path / "train" / "1.jpg")
    with pytest.raises(ValueError, match=r"train has no images; left out: .* class folders \(1\);"):
        folder.read(str(tmp_path))


@pytest.mark.parametrize(("here", "there"), [("train", "val"), ("val", "train")])
def test_a_class_in_one_split_only_is_named(photos, here, there):
    image(photos / here / "Dog" / "1.jpg")
    image(photos / here / "two\nlines" / "1.jpg")
    with pytest.raises(
        ValueError, match=f"without an image in {there}/Dog, {there}/'two"
    ) as caught:
        folder.read(str(photos))
    assert len(str(caught.value).splitlines()) == 1


def test_a_class_without_images_is_named_with_what_it_holds(photos):
    for split in ("train", "val"):
        (photos / split / "dog").mkdir()
        (photos / split / "dog" / "1.heic").write_text("no image")
    left_out = r"; left out: files ending in \.heic \(1\)"
    message = f"without an image in train/dog{left_out}, val/dog{left_out}; each class"
    with pytest.raises(ValueError, match=message):
        folder.read(str(photos))


def test_unreadable_images_are_all_listed_or_left_out(photos, recwarn, capsys):
    damage(photos / "train" / "ant" / "0.jpg")
    (photos / "val" / "cat" / "1.png").write_bytes(b"")
    (photos / "val" / "cat" / "2.gif").write_text("text")
    Image.new("1", (20_000, 20_000)).save(photos / "train" / "bee" / "large.png")
    with pytest.raises(ValueError, match=r"unreadable images \(4\): ") as caught:
        folder.read(str(photos))
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and "data.skip_unreadable=True" in message
    for name in ("train/ant/0.jpg (", "val/cat/1.png (", "val/cat/2.gif (no image format"):
        assert name in message
    assert "train/bee/large.png (Image size (400000000 pixels) exceeds limit" in message
    train, held, _ = folder.read(str(photos), skip_unreadable=True)
    assert (len(train), names(held)) == (5, ["ant/0.jpg", "bee/0.jpg", "cat/0.jpg"])
    line = told(photos, recwarn, capsys, skip_unreadable=True)
    assert "read 5 images in train/ and 3 in val/" in line and "unreadable images (4)" in line


def test_a_class_whose_images_are_all_unreadable_is_named(photos):
    for split in ("train", "val"):
        for path in (photos / split / "bee").iterdir():
            damage(path)
    with pytest.raises(ValueError, match="classes without an image in train/bee, val/bee; each"):
        folder.read(str(photos), skip_unreadable=True)


def test_images_are_decoded_once_until_a_file_changes(photos, monkeypatch):
    folder.read(str(photos))
    checked = []

    def check(path):
        checked.append(path)
        return False

    monkeypatch.setattr(photographs, "check", check)
    folder.read(str(photos))
    assert not checked
    path = photos / "train" / "cat" / "1.jpg"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    folder.read(str(photos))
    assert len(checked) == 9
    (cache,) = (photos / "autolabel_jax_cache").iterdir()
    cache.write_text("[")
    folder.read(str(photos))
    assert len(checked) == 18


def test_a_cache_that_cannot_be_written_is_left_out(photos):
    (photos / "autolabel_jax_cache").write_text("a file where the folder should be")
    assert len(folder.read(str(photos))[0]) == 6


def test_the_setting_leaves_unreadable_images_out_of_a_run(photos):
    damage(photos / "train" / "ant" / "0.jpg")
    settings = {"train_examples": 0, "test_examples": 0, "image_size": 8, "batch_size": 2}
    config = helpers.small_config(
        dataset="folder", data_dir=str(photos), calibration__fraction=0.4, **settings
    )
    with pytest.raises(ValueError, match=r"unreadable images \(1\): train/ant/0\.jpg"):
        datasets.load(config)
    config.data.skip_unreadable = True
    found = datasets.load(config)
    assert (len(found.train), len(found.calibration), len(found.test)) == (3, 2, 3)
    paths = [found.train.records.read(i)[0] for i in range(5)]
    assert not any(path.endswith("ant/0.jpg") for path in paths)
    np.testing.assert_array_equal(np.sort([*found.train.index, *found.calibration.index]), range(5))
