"""Reads a user's own examples: a manifest, or a folder of images by class.

A manifest is a table, .csv, .tsv, .parquet or .jsonl, with a row for each example. Its columns are:

- ``path``, of an image or a sound file, absolute or relative to the manifest; or ``input``, lists
  of numbers of one shape, which .csv cannot hold; or ``text``, see ``texts``; or columns of
  features of any other names, see ``tables``;
- ``label``, the name or the number of the class;
- ``split``, optional: train, calibration or test. Without it, or without test rows, 20 % of the
  sources are test examples; without calibration rows, calibration is cut from train;
- ``distance``, optional, in [0, 1]: how far the example was moved; read by ``augment.name=given``;
- ``group``, optional beside ``distance``: name or number of the kind of move. Each has buckets
  of its own;
- ``source``, optional: name of the example that the row is a copy of. Copies of a source never lie
  on both sides of a cut.

A folder has the images in CLASS/ or in train/CLASS/ and val/ (or validation/, test/) CLASS/, or is
one of ``hugging_face``. Images are decoded into memory, as in evaluation. ``manifest_streamed``
reads them as needed.
"""

import dataclasses
import functools
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from PIL import Image

from autolabel_jax import processes, progress
from autolabel_jax.datasets import audio, photographs, tables, texts
from autolabel_jax.datasets.manifest_rows import (
    SPLITS,
    Rows,
    kind_of_columns,
    list_rows,
    split_names,
)
from autolabel_jax.datasets.split import Source, Split

TEST_SHARE = 0.2
SEED = 0  # draws the test examples; independent of the seed of a run
MOST_GROUPS = 100  # each has buckets, and needs held-out examples in them
MOST_BYTES = 8 * 2**30  # of decoded images
SHOWN = 5  # values in a message
SILENT_SECONDS = 5  # before progress is shown


def read(
    data_dir: str,
    *,
    image_size: int,
    skip_unreadable: bool = False,
    kind: str = "",
    columns: str = "",
    missing: str = "error",
    max_words: int = texts.MAX_WORDS,
    max_tokens: int = texts.MAX_TOKENS,
    audio_settings: Mapping[str, Any] | None = None,
) -> Source:
    """Reads all examples into memory.

    Args:
      data_dir: path of the manifest or of the folder.
      image_size: side of the decoded images in pixels; images of one size that is not larger keep
        it.
      skip_unreadable: whether to leave out images that cannot be decoded.
      kind: kind of the inputs; '' for images, features and texts, by the columns and their shape.
      columns: names of the columns of features, separated by commas, see ``manifest_rows``.
      missing: what to do with missing values of features, see ``tables.fit``.
      max_words: largest size of the vocabulary of texts, see ``texts.fit``.
      max_tokens: largest length of texts, likewise.
      audio_settings: settings of sound files, see ``audio.read``.

    Raises:
      FileNotFoundError: the manifest, the folder or an image does not exist.
      ValueError: a column or a row does not fit the description above; the message names it.
    """
    rows = list_rows(data_dir, split_names(columns))
    label, names = classes(rows)
    copy_of = sources(rows)
    split = splits(rows, copy_of)
    group, group_names = _groups(rows, split)
    inputs, kept, encoding = rows.input, np.arange(len(rows)), None
    if rows.table is not None:
        kind, train = kind or kind_of_columns(rows), split == "train"
        if kind == "text":
            _check_missing(missing)
            sizes = {"max_words": max_words, "max_tokens": max_tokens}
            encoding = texts.fit(rows.where, rows.table, train, **sizes)
            inputs = texts.encode(f"data_dir: {rows.where}", rows.table, encoding)
        else:
            settings = {"kind": kind, "missing": missing}
            encoding = tables.fit(rows.where, rows.table, train, **settings)
            inputs = tables.encode(f"data_dir: {rows.where}", rows.table, encoding)
    elif rows.paths is not None and is_audio(rows, kind):
        kind = "audio"
        inputs, unreadable, encoding = audio.read(
            rows.where, rows.paths, split == "train", audio_settings or {}
        )
        kept = leave_out(rows, unreadable, skip_unreadable, "sound files cannot be used")
        inputs = inputs[kept]
    elif inputs is None:
        inputs, kept = _decode(rows, image_size, skip_unreadable)
    parts = {}
    for name in SPLITS:
        chosen = np.flatnonzero(split[kept] == name)
        at = kept[chosen]
        distance = None if rows.distance is None else rows.distance[at]
        copies = None if rows.source is None else copy_of[at]
        of_group = None if group is None or name == "test" else group[at]
        parts[name] = Split(inputs[chosen], label[at], distance, at, copies, of_group)
    source = make_source(rows, parts, label, names, group_names)
    return dataclasses.replace(source, kind=kind or None, encoding=encoding)


def _check_missing(missing: str) -> None:
    if missing != "error":
        raise ValueError(
            f"data.missing: got {missing!r} with texts, which must not be missing; leave such rows "
            "out, and use data.missing='error'"
        )


def make_source(
    rows: Rows,
    parts: dict[str, Any],
    label: np.ndarray,
    class_names: tuple[str, ...] | None,
    group_names: tuple[str, ...] = (),
) -> Source:
    """Makes the data set of the splits in ``parts``.

    Raises:
      ValueError: the training or the test split has no examples.
    """
    calibration = parts["calibration"]
    for name in ("train", "test"):
        if not len(parts[name]):
            raise ValueError(f"data_dir: {rows.where} has no {name} example")
    return Source(
        train=parts["train"],
        test=parts["test"],
        num_classes=len(class_names) if class_names else int(label.max()) + 1,
        class_names=class_names,
        calibration=calibration if len(calibration) else None,
        group_names=group_names,
    )


def classes(rows: Rows) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Returns labels, int32 [n], and the names of classes; None if labels are numbers.

    Raises:
      ValueError: there is one class.
    """
    if isinstance(rows.label, np.ndarray):
        return rows.label, rows.class_names
    names, label = np.unique(rows.label, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"data_dir: {rows.where} has one class, {str(names[0])!r}; expected two or more"
        )
    return label.astype(np.int32), tuple(map(str, names))


def sources(rows: Rows) -> np.ndarray:
    """Returns an integer for each row, int64 [n], which copies of one example share."""
    if rows.source is None:
        return np.arange(len(rows))
    return np.unique([str(name) for name in rows.source], return_inverse=True)[1].astype(np.int64)


def _groups(rows: Rows, split: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Returns the group of each row, int32 [n], and the sorted names of groups.

    Groups that are in test rows alone do not count; test rows have no group.
    """
    if rows.group is None:
        return None, ()
    if rows.distance is None:
        warnings.warn(
            f"data_dir: {rows.where}: column 'group' is not read without a column 'distance'",
            stacklevel=5,
        )
        return None, ()
    values = np.array(rows.group)
    names = np.unique(values[split != "test"])
    if len(names) > MOST_GROUPS:
        raise ValueError(
            f"data_dir: {rows.where}: column 'group' has {len(names)} values, must be at most "
            f"{MOST_GROUPS}, as each group has buckets of its own"
        )
    return np.searchsorted(names, values).astype(np.int32), tuple(map(str, names))


def splits(rows: Rows, source: np.ndarray) -> np.ndarray:
    """Returns the split of each row, str [n]; draws test sources if there are none.

    Raises:
      ValueError: a split is unknown, or copies of a source are in several.
    """
    split = np.array(["train"] * len(rows) if rows.split is None else rows.split)
    if unknown := sorted({*split.tolist()} - {*SPLITS}):
        raise ValueError(
            f"data_dir: {rows.where}: column 'split' has {', '.join(unknown[:SHOWN])}, expected "
            f"one of: {', '.join(SPLITS)}"
        )
    if not (split == "test").any():
        cut = np.flatnonzero(split == "train")
        names = np.unique(source[cut])
        # RandomState, unlike Generator, guarantees the same stream in every version of NumPy.
        order = np.random.RandomState(SEED).permutation(names)
        test = np.isin(source[cut], order[: max(1, round(TEST_SHARE * len(names)))])
        split = split.astype("<U11")
        split[cut[test]] = "test"
        _say_once(
            f"data_dir: {rows.where} has no test rows; {test.sum()} of {len(cut)} training "
            "examples are the test split, the same in every run"
        )
    for name in np.unique(source[split != "train"]) if rows.source is not None else ():
        if len(found := np.unique(split[source == name])) > 1:
            copy = rows.source[int(np.flatnonzero(source == name)[0])] if rows.source else name
            raise ValueError(
                f"data_dir: {rows.where}: copies of source {copy!r} are in the splits "
                f"{' and '.join(found)}; they must be in one"
            )
    return split


def _decode(rows: Rows, image_size: int, skip_unreadable: bool) -> tuple[np.ndarray, np.ndarray]:
    """Decodes all images; returns uint8 [m, height, width, 3] and their rows, int [m]."""
    assert rows.paths is not None
    height, width = _size(rows.paths, image_size)
    if (needed := len(rows) * height * width * 3) > MOST_BYTES:
        other = ", or stream=True" if isinstance(rows.paths[0], str) else ""
        raise ValueError(
            f"image_size: {len(rows)} images of {height} × {width} pixels would take "
            f"{needed / 2**30:.0f} GiB of memory; use a smaller image_size{other}"
        )
    out = np.zeros((len(rows), height, width, 3), np.uint8)

    def decode(row: int) -> str | None:
        assert rows.paths is not None
        try:
            out[row] = photographs.middle(rows.paths[row], height, width)
        except Exception as error:  # decoders of damaged files raise many types
            return photographs.reason(error)
        return None

    with ThreadPool(os.cpu_count() or 1) as pool:
        found = pool.imap(decode, range(len(rows)), chunksize=16)
        shown = progress.each(
            found,
            "decoding images",
            len(rows),
            "image",
            delay=SILENT_SECONDS,
            shown=processes.is_first(),
        )
        unreadable = {row: why for row, why in enumerate(shown) if why is not None}
    kept = leave_out(rows, unreadable, skip_unreadable)
    return (out if len(kept) == len(rows) else out[kept]), kept


def is_audio(rows: Rows, kind: str = "") -> bool:
    """Whether rows are sound files: of kind 'audio', or by their endings."""
    if rows.paths is None or kind not in ("", "audio"):
        return False
    return kind == "audio" or all(map(audio.is_sound, rows.paths))


def leave_out(
    rows: Rows, unreadable: dict[int, str], skip: bool, what: str = "images cannot be decoded"
) -> np.ndarray:
    """Returns the rows without those whose files cannot be decoded, int [m].

    Args:
      rows: all rows.
      unreadable: reason for each row that cannot be decoded.
      skip: whether these rows may be left out.
      what: what is wrong, for messages.

    Raises:
      ValueError: there are some, and they may not be left out.
    """
    if not unreadable:
        return np.arange(len(rows))
    named = [f"{rows.name(row)} ({why})" for row, why in unreadable.items()]
    message = f"data_dir: {rows.where}: {len(named)} of {len(rows)} {what}: "
    message += ", ".join(named[:SHOWN]) + (" and more" if len(named) > SHOWN else "")
    if not skip:
        raise ValueError(
            f"{message}; repair or remove them, or leave them out with data.skip_unreadable=True"
        )
    warnings.warn(f"{message}; left out", stacklevel=5)
    return np.setdiff1d(np.arange(len(rows)), list(unreadable))


@functools.cache  # the data of a run are read several times
def _say_once(text: str) -> None:
    processes.say(text)


def _size(paths: Sequence[str | bytes], most: int) -> tuple[int, int]:
    """Returns height and width of the decoded images."""
    sizes = image_sizes(paths)
    if len({*sizes}) == 1 and max(sizes[0]) <= most:
        return sizes[0]
    return most, most


def image_sizes(paths: Sequence[str | bytes]) -> list[tuple[int, int]]:
    """Returns height and width of each image that can be opened, from its header."""
    sizes = []
    for path in paths:
        try:
            with Image.open(path if isinstance(path, str) else io.BytesIO(path)) as image:
                sizes.append((image.height, image.width))
        except Exception:  # ``_decode`` says why
            continue
    return sizes or [(0, 0)]
