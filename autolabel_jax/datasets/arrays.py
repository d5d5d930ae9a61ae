"""Reads a user's own arrays from a folder with train.npz and test.npz.

Each file has ``label``, int [n], and ``input`` (or ``image``), uint8 or float
[n, ...]. Without either, the only other float array [n, ...] is used. Three keys
are optional: ``distance``, float [n] in [0, 1], for inputs that are already
augmented; ``num_classes``, if some classes have no example; and ``kind``, a
string in train.npz, which is 'image' by default for [n, height, width,
channels] and 'features' for other shapes. Float images can have any range;
augmentations that need [0, 1] check it.
"""

import pathlib
import zipfile
import zlib

import numpy as np

from autolabel_jax.datasets.split import KINDS, Source, Split

MAX_CLASSES = 1_000_000  # larger labels are probably not class indices
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError)  # errors of reading a broken file
INPUT_KEYS = ("input", "image")
OWN_KEYS = ("label", "distance", "num_classes", "kind")  # keys that cannot be the input


def read(data_dir: str) -> Source:
    """Reads and checks both files.

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
    files = {name: _load(folder / f"{name}.npz") for name in ("train", "test")}
    splits = {name: _split(folder / f"{name}.npz", arrays) for name, arrays in files.items()}
    train, test = splits["train"].input, splits["test"].input
    if (train.shape[1:], train.dtype) != (test.shape[1:], test.dtype):
        raise ValueError(
            f"data_dir: {folder}: 'image' is {train.dtype} {list(train.shape[1:])} in train.npz, "
            f"{test.dtype} {list(test.shape[1:])} in test.npz; shape and type must be the same"
        )
    return Source(
        **splits,
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
    if not path.is_file():
        raise FileNotFoundError(
            f"data_dir: {path} is missing; dataset='arrays' reads train.npz and test.npz"
        )
    unreadable = f"data_dir: {path} is not a readable .npz file"
    try:
        file = np.load(path, allow_pickle=False)
    except (ValueError, *DAMAGE) as error:
        raise ValueError(f"{unreadable} ({error})") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError(f"{unreadable}; it holds a single array")
    inputs = [key for key in INPUT_KEYS if key in file.files]
    wanted = {*OWN_KEYS, *inputs} if inputs else set(file.files)
    try:
        with file:
            return {key: _array(path, key, file) for key in file.files if key in wanted}
    except DAMAGE as error:
        raise ValueError(f"{unreadable} ({error})") from error


def _array(path: pathlib.Path, key: str, file: np.lib.npyio.NpzFile) -> np.ndarray:
    try:
        return file[key]
    except ValueError as error:
        raise ValueError(
            f"data_dir: {path}: {key!r} holds Python objects (ragged images?), which are refused; "
            "store one array with one shape and a number type"
        ) from error


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
            f"got {label.dtype} {list(label.shape)}"
        )
    if not len(label):
        raise ValueError(f"data_dir: {path}: 'label' is empty")
    if label.min() < 0 or label.max() >= MAX_CLASSES:
        raise ValueError(
            f"data_dir: {path}: 'label' must count the classes from 0 and stay below "
            f"{MAX_CLASSES:,}; got values from {label.min()} to {label.max()}"
        )
    return label


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
            f"got shape {list(image.shape)}"
        )
    if image.dtype == np.uint8:
        return image
    with np.errstate(over="ignore"):  # overflow is reported below as infinite
        image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise ValueError(f"data_dir: {path}: {key!r} holds NaN or infinite values")
    return image


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
    needed = 1 + max(int(split.label.max()) for split in splits.values())
    given = {name: file["num_classes"] for name, file in files.items() if "num_classes" in file}
    for name, value in given.items():
        whole = value.size == 1 and np.issubdtype(value.dtype, np.integer)
        if not whole or value.item() < needed:
            raise ValueError(
                f"data_dir: {folder / name}.npz: 'num_classes' must be one whole number, "
                f"at least {needed} with these labels; got {value.tolist()}"
            )
    numbers = {value.item() for value in given.values()} or {needed}
    if len(numbers) > 1:
        raise ValueError(
            f"data_dir: {folder}: 'num_classes' differs in the files: {sorted(numbers)}"
        )
    return numbers.pop()
