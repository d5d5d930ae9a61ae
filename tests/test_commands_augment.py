"""The command ``autolabel augment``: copies, their distances, and labels learned from them."""

import csv
import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from autolabel_jax.commands import main


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """(folder of the images, folder of the copies, rows of the manifest)."""
    root = tmp_path_factory.mktemp("augment")
    digits = load_digits()
    for i in range(90):
        folder = root / "photos" / f"digit {digits.target[i] % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        image = np.repeat((digits.images[i] * 15).astype(np.uint8), 2, axis=0).repeat(2, axis=1)
        Image.fromarray(image).save(folder / f"{i}.png")
    out = root / "moved"
    given = [f"--data={root / 'photos'}", f"--out={out}", "--copies=3"]
    assert main.main(["augment", *given]) == 0
    with open(out / "manifest.csv") as file:
        return root / "photos", out, list(csv.DictReader(file))


def test_copies_move_with_their_distance(moved):
    photos, out, rows = moved
    clean = {row["source"]: row for row in rows if row["distance"] == "0.000000"}
    assert len(clean) == 90
    shift = {0: [], 1: []}
    for row in rows:
        image = np.asarray(Image.open(out / row["path"])).astype(int)
        original = np.asarray(Image.open(out / clean[row["source"]]["path"])).astype(int)
        assert image.shape == (16, 16, 3) and row["split"] == clean[row["source"]]["split"]
        distance = float(row["distance"])
        assert 0 <= distance <= 1
        if distance == 0:
            continue
        assert row["split"] == "train"
        shift[int(distance > 0.5)].append(np.abs(image - original).mean())
    assert len(shift[0]) + len(shift[1]) == 3 * 72  # 18 of 90 images are the test split
    assert 0 < np.mean(shift[0]) < np.mean(shift[1])
    names = {row["path"].split("_")[1]: row for row in clean.values()}
    for path in photos.rglob("*.png"):  # copy 0 has the pixels of the file
        row = names[path.stem]
        np.testing.assert_array_equal(
            np.asarray(Image.open(out / row["path"])), np.asarray(Image.open(path).convert("RGB"))
        )
        assert row["label"] == path.parent.name


@pytest.mark.slow
def test_labels_are_learned_from_the_copies(moved, tmp_path):
    _, out, rows = moved
    given = [f"--data={out / 'manifest.csv'}", f"--out={tmp_path / 'labels.parquet'}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        small = ["--config.epochs=1", "--config.model.width=1", "--config.model.depth=10"]
        assert main.main(["label", *given, *small, "--config.batch_size=32"]) == 0
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "labels.parquet")
    assert table.num_rows == sum(row["split"] != "test" for row in rows)


def test_sources_of_a_manifest_are_kept(moved, tmp_path):
    _, out, rows = moved
    with open(tmp_path / "views.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source"])
        writer.writerows([out / row["path"], row["label"], f"s{row['source']}"] for row in rows)
    given = [f"--data={tmp_path / 'views.csv'}", f"--out={tmp_path / 'again'}", "--copies=1"]
    assert main.main(["augment", *given]) == 0
    with open(tmp_path / "again/manifest.csv") as file:
        again = list(csv.DictReader(file))
    assert {row["source"] for row in again} == {f"s{row['source']}" for row in rows}


def test_copies_are_not_moved_a_second_time(moved, tmp_path, capsys):
    given = [f"--data={moved[1] / 'manifest.csv'}", f"--out={tmp_path / 'again'}"]
    assert main.main(["augment", *given]) == 1
    assert "has a column 'distance': it is moved already" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_a_folder_that_is_not_empty_is_left_alone(moved, capsys):
    photos, out, _ = moved
    before = sorted(path.name for path in out.rglob("*"))
    assert main.main(["augment", f"--data={photos}", f"--out={out}"]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert sorted(path.name for path in out.rglob("*")) == before
