"""Reads a user's own arrays from a folder with train.npz and test.npz.

A third file, calibration.npz, is optional; without it, calibration is cut from
train.npz.

Each file has ``label``, int [n], and ``input`` (or ``image``), uint8 or float
[n, ...]. Without either, the only other float array [n, ...] is used. Three keys
are optional: ``distance``, float [n] in [0, 1], for inputs that are already
augmented; ``num_classes``, if some classes have no example; and ``kind``, a
string in train.npz, which is 'image' by default for [n, height, width,
channels] and 'features' for other shapes. Float images can have any range;
augmentations that need [0, 1] check it.

Labels count the classes from 0, without gaps unless ``num_classes`` is stored.
"""

import math
import pathlib
from typing import NoReturn

import numpy as np

from autolabel_jax.datasets.checks import MAX_CLASSES
from autolabel_jax.datasets.split import KINDS, Source, Split

SHOWN = 10  # largest number of missing classes in a message
INPUT_KEYS = ("input", "image")
OWN_KEYS = ("label", "distance", "num_classes", "kind")  # keys that cannot be the input


def read(data_dir: str) -> Source:
    """Reads and checks the files.

    Args:
      data_dir: path of the folder.

    Returns:
      Source with float images as float32; num_classes is by default 1 + the
      largest label of both files.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file does not fit the description above; the message names
        the file and the key.
    """
    if not data_dir:
        raise ValueError(
            "data_dir: got '', dataset='arrays' needs the folder of train.npz, test.npz"
        )
    folder = pathlib.Path(data_dir).expanduser()
    names = ["train", "test"]
    if (folder / "calibration.npz").exists():
        names.insert(1, "calibration")
    files = {name: _load(folder / f"{name}.npz") for name in names}
    splits = {name: _split(folder / f"{name}.npz", arrays) for name, arrays in files.items()}
    train = splits["train"].input
    for name in names[1:]:
        other = splits[name].input
        if (train.shape[1:], train.dtype) != (other.shape[1:], other.dtype):
            raise ValueError(
                f"data_dir: {folder}: 'image' is {train.dtype} {list(train.shape[1:])} in "
                f"train.npz, {other.dtype} {list(other.shape[1:])} in {name}.npz; shape and type "
                "must be the same"
            )
    held_out = splits.get("calibration")
    if held_out is not None and (held_out.distance is None) != (splits["train"].distance is None):
        raise ValueError(
            f"data_dir: {folder}: only one of train.npz and calibration.npz has 'distance'; store "
            "it in both"
        )
    return Source(
        train=splits["train"],
        test=splits["test"],
        calibration=held_out,
        num_classes=_num_classes(folder, files, splits),
        class_names=None,
        kind=_kind(folder / "train.npz", files["train"]),
    )


def _kind(path: pathlib.Path, stored: dict[str, np.ndarray]) -> str | None:
    if "kind" not in stored:
        return None
    kind = str(stored["kind"])
    if kind not in KINDS:
        raise ValueError(
            f"data_dir: {path}: 'kind' is {kind!r}, expected one of: {', '.join(KINDS)}"
        )
    return kind


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.is_file():  # reading a pipe or a device could wait for ever
        raise FileNotFoundError(
            f"data_dir: {path} is missing, or not a regular file; dataset='arrays' reads "
            "train.npz and test.npz"
        )
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        inputs = [key for key in INPUT_KEYS if key in file.files]
        wanted = {*OWN_KEYS, *inputs} if inputs else set(file.files)
        with file:
            return {key: _array(key, file) for key in file.files if key in wanted}
    except Exception as error:  # damaged files raise many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"data_dir: {path} is not a readable .npz file ({reason})") from error


def _array(key: str, file: np.lib.npyio.NpzFile) -> np.ndarray:
    """Reads an array after its header, which can promise more than the file holds."""
    name = f"{key}.npy"
    assert file.zip is not None  # the file is open
    if name not in file.zip.namelist():
        raise ValueError(f"{key!r} is not an array of NumPy")
    with file.zip.open(name) as member:
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read_header = np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
        stored = file.zip.getinfo(name).file_size - member.tell()
    if dtype.hasobject:
        raise ValueError(
            f"{key!r} holds Python objects (ragged images?), which are refused; store one array "
            "with one shape and a number type"
        )
    needed = math.prod(shape) * dtype.itemsize
    if needed != stored:
        raise ValueError(
            f"{key!r} should be {dtype} {list(shape)}, {needed:,} bytes, but has {stored:,}"
        )
    return file[key]


def _split(path: pathlib.Path, stored: dict[str, np.ndarray]) -> Split:
    if "label" not in stored:
        raise ValueError(f"data_dir: {path} has no 'label', only {sorted(stored)}")
    label = _label(path, stored["label"])
    image = _image(path, stored, len(label))
    distance = stored.get("distance")
    if distance is not None:
        distance = _distance(path, distance, len(label))
    return Split(image, label.astype(np.int32), distance, np.arange(len(label)))


def _label(path: pathlib.Path, label: np.ndarray) -> np.ndarray:
    if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(
            f"data_dir: {path}: 'label' must hold whole numbers [n] of an integer type; "
            f"got {label.dtype} {list(label.shape)}{_advice(label)}"
        )
    if not len(label):
        raise ValueError(f"data_dir: {path}: 'label' is empty")
    if label.min() < 0 or label.max() >= MAX_CLASSES:
        raise ValueError(
            f"data_dir: {path}: 'label' must count the classes from 0 and stay below "
            f"{MAX_CLASSES:,}; got values from {label.min()} to {label.max()}"
            + ("; leave out examples without a label" if label.min() < 0 else "")
        )
    return label


def _advice(label: np.ndarray) -> str:
    """Says how to make class indices of labels in another form."""
    if label.dtype.kind in "SU":
        return "; number the names alike in both files, with names.index"
    if label.dtype.kind not in "biuf":
        return ""
    if label.ndim == 2 and 1 not in label.shape:
        if np.array_equal(np.sort(label, axis=1), np.eye(label.shape[1])[[-1] * len(label)]):
            return ", which is one-hot; store label.argmax(1)"
        return ", which are weights of classes; store label.argmax(1)"
    whole = bool(np.isfinite(label).all() and np.all(label == np.floor(label)))
    if not whole:
        return ", which are no class indices"
    shape = ".ravel()" if label.ndim == 2 else ""
    kind = "" if label.dtype.kind in "iu" else ".astype('int32')"
    return f"; store label{shape}{kind}" if label.ndim <= 2 and shape + kind else ""


def _distance(path: pathlib.Path, distance: np.ndarray, n: int) -> np.ndarray:
    if distance.shape != (n,) or not np.issubdtype(distance.dtype, np.floating):
        raise ValueError(
            f"data_dir: {path}: 'distance' must be float [{n}], one per label; "
            f"got {distance.dtype} {list(distance.shape)}"
        )
    if not np.all((distance >= 0) & (distance <= 1)):
        raise ValueError(
            f"data_dir: {path}: 'distance' must be in [0, 1]; "
            f"got values from {distance.min()} to {distance.max()}"
        )
    return distance.astype(np.float32)


def _image(path: pathlib.Path, stored: dict[str, np.ndarray], n: int) -> np.ndarray:
    keys = [key for key in INPUT_KEYS if key in stored]
    if len(keys) > 1:
        raise ValueError(f"data_dir: {path} has both 'input' and 'image'; keep one of them")
    key = keys[0] if keys else _other_key(path, stored, n)
    image = stored[key]
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"data_dir: {path}: {key!r} must be uint8 or float; got {image.dtype}")
    if image.ndim < 2 or len(image) != n or image.size == 0:
        raise ValueError(
            f"data_dir: {path}: {key!r} must be [{n}, ...], one entry per label; "
            f"got shape {list(image.shape)}{_example_axis(image.shape, n)}"
        )
    if image.dtype == np.uint8:
        return image
    with np.errstate(over="ignore"):  # overflow is reported below as infinite
        image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise ValueError(f"data_dir: {path}: {key!r} holds NaN or infinite values")
    return image


def _example_axis(shape: tuple[int, ...], n: int) -> str:
    """Says how to move the axis of the examples to the front, if it is the last one."""
    last = len(shape) > 1 and shape[-1] == n
    return "; store np.moveaxis(x, -1, 0)" if last else ""


def _other_key(path: pathlib.Path, stored: dict[str, np.ndarray], n: int) -> str:
    keys = [
        key
        for key, value in stored.items()
        if key not in OWN_KEYS
        and np.issubdtype(value.dtype, np.floating)
        and value.ndim > 1
        and len(value) == n
    ]
    if not keys:
        raise ValueError(
            f"data_dir: {path} has no 'input' and no other float array [{n}, ...] beside "
            f"'label'; its keys are {sorted(stored)}"
        )
    if len(keys) > 1:
        raise ValueError(
            f"data_dir: {path}: several arrays may be the input: {sorted(keys)}; name one 'input'"
        )
    return keys[0]


def _num_classes(folder: pathlib.Path, files: dict, splits: dict[str, Split]) -> int:
    present = np.unique(np.concatenate([split.label for split in splits.values()]))
    needed = 1 + int(present[-1])
    given = {name: file["num_classes"] for name, file in files.items() if "num_classes" in file}
    for name, value in given.items():
        whole = value.size == 1 and np.issubdtype(value.dtype, np.integer)
        if not whole or not needed <= value.item() <= MAX_CLASSES:
            raise ValueError(
                f"data_dir: {folder / name}.npz: 'num_classes' must be one whole number, "
                f"at least {needed} with these labels and at most {MAX_CLASSES:,}; got "
                f"{value.item() if value.size == 1 else f'{value.dtype} {list(value.shape)}'!r}"
            )
    numbers = {value.item() for value in given.values()}
    if len(numbers) > 1:
        raise ValueError(
            f"data_dir: {folder}: 'num_classes' differs in the files: {sorted(numbers)}"
        )
    if not numbers and len(present) < needed:
        _refuse_gaps(folder, present, needed)
    return numbers.pop() if numbers else needed


def _refuse_gaps(folder: pathlib.Path, present: np.ndarray, needed: int) -> NoReturn:
    """Raises the error of labels without an example of some class below the largest label."""
    missing = np.setdiff1d(np.arange(needed), present)
    names = ", ".join(map(str, missing[:SHOWN])) + (", …" if len(missing) > SHOWN else "")
    what = f"has no example of {len(missing)} of {needed} classes: {names}"
    advice = "number the classes from 0 without gaps, alike in both files"
    if present[0] == len(missing):  # all missing classes come first
        what = f"starts at {present[0]} in both files, must start at 0"
        advice = f"store label - {present[0]} in both"
    raise ValueError(
        f"data_dir: {folder}: 'label' {what}; {advice}, or store num_classes={needed} if these "
        "classes exist"
    )
