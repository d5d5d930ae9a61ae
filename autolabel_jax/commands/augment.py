"""Writes moved copies of images, with their distances, as files and a manifest.

    autolabel augment --data=photos/ --copies=5 --out=moved

--data is a folder of images by class, or a manifest. --out gets CLASS/NAME_COPY.png, and
manifest.csv with the columns path, label, split, distance, group and source of docs/own_data.md.
Copy 0 is the image itself, at distance 0; test images have no other copy.
"""

import argparse
import csv
import io
import pathlib
import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from autolabel_jax import augment, datasets, defaults, progress
from autolabel_jax.commands import output
from autolabel_jax.datasets import manifest, manifest_rows
from autolabel_jax.types import Batch

METHODS = ("augmix", "randaugment")  # those that move one image without a model
COLUMNS = ("path", "label", "split", "distance", "group", "source")
BATCH = 64  # images that are moved at once
SILENT_SECONDS = 5  # before progress is shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("--data", required=True, metavar="PATH", help="folder of images by class, or manifest")
    add("--out", required=True, type=pathlib.Path, metavar="FOLDER", help="new folder")
    add("--copies", type=int, default=5, metavar="N", help="moved copies (default: %(default)s)")
    add("--augment", choices=METHODS, default=METHODS[0], help="method (default: %(default)s)")
    help = "side of the copies, unless all images are of one smaller size (default: %(default)s)"
    add("--image_size", type=int, default=224, metavar="PIXELS", help=help)
    add("--seed", type=int, default=0, help="seed (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command, and returns its exit code.

    Raises:
      ValueError, OSError: the data cannot be used, or --out exists.
    """
    out, copies = arguments.out, arguments.copies
    if copies < 1:
        raise ValueError(f"--copies: got {copies}, must be at least 1")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out: {out} is not empty; give a new folder")
    config = defaults.base()
    config.augment.name, config.seed = arguments.augment, arguments.seed
    listed = manifest_rows.list_rows(arguments.data)
    if listed.paths is None or manifest.is_audio(listed):
        raise ValueError(f"--data: {arguments.data} holds no paths of images")
    if listed.distance is not None:
        raise ValueError(f"--data: {arguments.data} has a column 'distance': it is moved already")
    source = manifest.read(arguments.data, image_size=arguments.image_size)
    stems = [_name(pathlib.Path(listed.name(row)).stem) for row in range(len(listed))]
    splits = {"train": source.train, "calibration": source.calibration, "test": source.test}
    splits = {name: part for name, part in splits.items() if isinstance(part, datasets.Split)}
    names = source.class_names or tuple(map(str, range(source.num_classes)))
    rows = []
    for split_name, split in splits.items():
        moved = 0 if split_name == "test" else copies
        for position, copy, image, distance, group in _moved(split, config, moved):
            row, label = int(split.index[position]), names[split.label[position]]
            path = pathlib.Path(_name(label), f"{row}_{stems[row]}_{copy}.png")
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(out / path)
            origin = row if listed.source is None else listed.source[row]
            rows.append((str(path), label, split_name, f"{distance:.6f}", group, origin))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    output.write(text.getvalue().encode(), out / "manifest.csv")
    output.say(f"wrote {len(rows)} images and {out / 'manifest.csv'}")
    return 0


def _name(text: str) -> str:
    """Returns a name that every file system takes."""
    return re.sub(r"[^\w. -]", "_", text).strip(". ") or "_"


def _moved(
    split: datasets.Split, config: ConfigDict, copies: int
) -> Iterator[tuple[int, int, np.ndarray, float, int]]:
    """Yields position in the split, number of the copy, image, distance and group."""
    method = augment.create(config)
    apply = jax.jit(method.apply)
    starts = range(0, len(split), BATCH)
    shown = progress.each(starts, "moving images", len(starts), "batch", delay=SILENT_SECONDS)
    for start in shown:
        rows = np.arange(start, min(start + BATCH, len(split)))
        padded = np.resize(rows, BATCH)  # one program for all batches
        for position in rows:
            yield int(position), 0, split.input[position], 0.0, 0
        for copy in range(1, copies + 1):
            key = jax.random.key(config.seed)
            for number in (int(split.index[start]), copy):
                key = jax.random.fold_in(key, number)
            draw_key, apply_key = jax.random.split(key)
            distance = method.draw(draw_key, BATCH)
            zeros = jnp.zeros(BATCH, jnp.float32)
            batch = Batch(
                input=jnp.asarray(split.input[padded]),
                label=jnp.asarray(split.label[padded]),
                index=jnp.asarray(padded, jnp.int32),
                mask=zeros + 1,
                distance=zeros,
            )
            moved = apply(apply_key, batch, distance)
            images = np.asarray(jnp.clip(jnp.round(255 * moved.input), 0, 255)).astype(np.uint8)
            values, groups = np.asarray(moved.distance.value), np.asarray(moved.distance.group)
            for i, position in enumerate(rows):
                yield int(position), copy, images[i], float(values[i]), int(groups[i])
