"""Whatever a config, arrays or folders hold: a set-up, or one line that names what is wrong.

Nothing is trained here: data are loaded, and the fixed parts of a run are made.
"""

import functools
import os
import pathlib
import re
import tempfile
import warnings

import helpers
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from autolabel_jax import augment, buckets, datasets, input_pipeline, labels, losses, models
from autolabel_jax import experiment as experiment_lib
from configs import base

LANES = [pytest.param(30, id="short"), pytest.param(500, id="long", marks=pytest.mark.slow)]
FIELDS = traverse_util.flatten_dict(base.base().to_dict(), sep=".")
SETUP = {"train_examples": 100, "test_examples": 50, "batch_size": 2}


def holds_for(outcome, strategy, examples):
    """Tries so many examples of the strategy: the same ones in each run of the short lane."""
    short = examples == LANES[0].values[0]
    checks = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=short,
        suppress_health_check=list(HealthCheck),
    )
    checks(given(strategy)(outcome))()


def set_up(changes):
    """Makes the parts of a run, or checks that one line names a field of the config."""
    config = helpers.small_config()
    config.update_from_flattened_dict(SETUP | changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = datasets.load(config)
            experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
        except (ValueError, OSError) as error:
            message = str(error)
            assert len(message.splitlines()) == 1, message
            named = re.match(r"([\w.]+)(, [\w.]+)?: ", message)
            assert named and named[1] in FIELDS, message
            return
    assert experiment.steps_per_epoch >= 1 and experiment.num_buckets >= 1
    assert np.isfinite(experiment.edges).all()
    for split in (dataset.train, dataset.calibration, dataset.test):
        assert len(split) > 0
        assert split.input[:1].shape[1:] == dataset.spec.shape
        assert 0 <= split.label.min() <= split.label.max() < dataset.num_classes


# Fields of the config

NAMES = {
    "augment.name": [*augment.TABLE, "no.module:Class"],
    "labels.rule": list(labels.TABLE),
    "loss.name": list(losses.TABLE),
    "loss.schedule": ["fixed", "flsd53"],
    "model.name": list(models.TABLE),
    "dataset": ["digits", "arrays", "folder", "no_such_set", "json:loads", "os.path:"],
    "optimizer.schedule": ["cosine", "step"],
    "buckets.edges": list(buckets.EDGES),
    "buckets.calibration_edges": list(buckets.EDGES),
    "calibration.source": ["heldout", "train"],
    "labels.step": ["ece", "signed_gap"],
    "labels.ece_estimate": ["plugin", "debiased"],
    "dtype": list(models.DTYPES),
}
SIZES = [0, 1, 2, 3, 16, 10**3, 10**6, 10**7, 10**9, 2**31, 2**32, 2**63, 10**30]
SIZES += [-size for size in SIZES]
SHARES = [0.0, -0.0, 0.1, 0.5, 1.0, 2.0, -1.0, 1e-320, 1e300, float("inf"), float("nan")]
NUMBERS = st.sampled_from(SHARES) | st.floats()
TEXT = st.sampled_from(["", "a\nb", "\0", "café", "../x"]) | st.text(max_size=8)
BY_TYPE = {
    bool: st.booleans(),
    int: st.sampled_from(SIZES) | st.integers(-10, 300),
    float: NUMBERS,
    tuple: st.lists(NUMBERS | st.text(max_size=2), max_size=4).map(tuple),
}


def values_of(field):
    default = FIELDS[field]
    if isinstance(default, str):
        return st.sampled_from(NAMES[field]) | TEXT if field in NAMES else TEXT
    return BY_TYPE[type(default)]


def drawn_from(strategies, most):
    """Values of some of the strategies by their keys."""
    some = st.lists(st.sampled_from(sorted(strategies)), max_size=most, unique=True)
    return some.flatmap(lambda keys: st.fixed_dictionaries({key: strategies[key] for key in keys}))


@pytest.mark.parametrize("examples", LANES)
def test_configs(examples, monkeypatch):
    monkeypatch.setattr(datasets.digits, "read", functools.cache(datasets.digits.read))
    # The prefix keeps the name of a set that exists, which would be downloaded, from being drawn.
    sets = NAMES["dataset"]

    def outcome(changes):
        if changes.get("dataset", "digits") not in sets:
            changes["dataset"] = f"no_such_set_{changes['dataset']}"
        set_up(changes)

    every = {field: values_of(field) for field in FIELDS}
    holds_for(outcome, drawn_from(every, 3), examples)


# Arrays

LABELS = {
    "turn": lambda n: np.arange(n) % 3,
    "sorted": lambda n: np.arange(n) * 3 // max(n, 1),
    "one": lambda n: np.ones(n, int),
    "from one": lambda n: np.arange(n) % 3 + 1,
    "negative": lambda n: np.arange(n) % 3 - 1,
    "gaps": lambda n: np.arange(n) % 3 * 7,
    "large": lambda n: np.arange(n, dtype=np.uint64) * 2**60,
    "uint8": lambda n: (np.arange(n) % 3).astype(np.uint8),
    "float": lambda n: np.arange(n) % 3 * 1.0,
    "fraction": lambda n: np.arange(n) / 2,
    "nan": lambda n: np.full(n, np.nan),
    "bool": lambda n: np.arange(n) % 2 > 0,
    "names": lambda n: np.array(["a\nb", "c"] * n)[:n],
    "dates": lambda n: np.arange(n).astype("datetime64[D]"),
    "one-hot": lambda n: np.eye(3)[np.arange(n) % 3],
    "column": lambda n: np.arange(n)[:, None] % 3,
    "deep": lambda n: np.arange(n)[:, None, None] % 3,
    "number": lambda n: np.array(n),
    "objects": lambda n: np.array([None] * n, object),
    "records": lambda n: np.zeros(n, [("a", int), ("b", float)]),
}
TYPES = ["u1", "f2", "f4", "f8", "i4", "c8", "?", "U3", "O", ">f4", "M8[s]"]
LEVELS = [0.0, 1.0, 255.0, -3.0, 1e300, float("nan"), float("inf")]
OTHERS = {
    "num_classes": [np.array(v) for v in (3, 2, 10**9, -1, 2.5, [3, 3], "a", None)],
    "kind": [np.array(v) for v in ("image", "audio", "text", "features", "smell", "a\nb", 3)],
    "distance": [
        np.zeros(20),
        np.full(20, 0.5),
        np.full(20, np.nan),
        np.zeros((20, 2)),
        np.array(1),
    ],
    "extra": [np.zeros((20, 2)), np.array([None], object)],
}

SHAPES = st.sampled_from([(8, 8, 3), (3, 8, 8), (8, 8), (5,), (1, 1, 1)])
SHAPES |= st.lists(st.integers(0, 6), max_size=4).map(tuple)
USUAL = {"num": 20, "label": "turn", "shape": (8, 8, 3), "type": "u1", "level": 1.0, "key": "image"}
UNUSUAL = {
    "num": st.sampled_from([20, 3, 1, 0]),
    "label": st.sampled_from(sorted(LABELS)),
    "shape": SHAPES,
    "type": st.sampled_from(TYPES),
    "level": st.sampled_from(LEVELS),
    "key": st.sampled_from(["input", "x", "label", ""]),
    **{key: st.sampled_from(range(len(values))) for key, values in OTHERS.items()},
}


STORED = drawn_from(UNUSUAL, 2).map(lambda changes: USUAL | changes)
# What becomes of the bytes of a file: nothing, cut at a share, or one byte turned at a share.
DAMAGE = st.tuples(st.sampled_from(["none", "none", "none", "cut", "turn"]), st.floats(0, 1))


def stored_arrays(made):
    num = made["num"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        random = np.random.default_rng(0).random((num, *made["shape"]))
        image = (random * (255 if made["type"] == "u1" else made["level"])).astype(made["type"])
    others = {key: values[made[key]] for key, values in OTHERS.items() if key in made}
    return {made["key"]: image, "label": LABELS[made["label"]](num)} | others


def write_damaged(path, content, damage):
    kind, share = damage
    place = int(share * (len(content) - 1)) if content else 0
    if kind == "cut":
        content = content[:place]
    elif kind == "turn" and content:
        content = content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
    path.write_bytes(content)


@pytest.mark.parametrize("examples", LANES)
def test_arrays(examples):
    def outcome(arrays):
        train, test, damage, same = arrays
        with tempfile.TemporaryDirectory() as folder:
            for name, made in (("train", train), ("test", train if same else test)):
                path = pathlib.Path(folder) / f"{name}.npz"
                np.savez(path, **stored_arrays(made))
                write_damaged(path, path.read_bytes(), damage)
            set_up({"dataset": "arrays", "data_dir": folder})

    others = st.sampled_from([True, True, False])  # most test sets are like the training set
    holds_for(outcome, st.tuples(STORED, STORED, DAMAGE, others), examples)


# Folders


def picture(path, mode="RGB", **save):
    try:
        Image.new(mode, (20, 16)).save(path, **save)
    except (OSError, ValueError):  # the ending has no writer, or the writer has no such mode
        Image.new("RGB", (20, 16)).save(path, "PNG")


def orientation(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(path, exif=exif)


def half(path):
    picture(path)
    write_damaged(path, path.read_bytes(), ("cut", 0.5))


ENTRIES = {
    "picture": picture,
    "grey": lambda path: picture(path, "L"),
    "deep": lambda path: picture(path, "I;16"),
    "float": lambda path: Image.new("F", (20, 16)).save(path, "TIFF"),
    "cmyk": lambda path: picture(path, "CMYK"),
    "alpha": lambda path: picture(path, "LA"),
    "turned": orientation,
    "half": half,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("text"),
    "bomb": lambda path: path.write_bytes(b"P5 20000 20000 255\n"),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "broken link": lambda path: path.symlink_to("nowhere"),
    "round link": lambda path: path.symlink_to(path.parent),
    "link to itself": lambda path: path.symlink_to(path.name),
}
FILES = st.sampled_from(["0.jpg", "1.PNG", "2.tif", "3.webp", "._4.jpg", "5.heic", "6", "7\n8.png"])
CLASSES = st.sampled_from(["ant", "bee", "ant", "bee", ".hidden", "a\nb", "cat/deep"])
PATHS = st.tuples(st.sampled_from(["train", "val", "test"]), CLASSES, FILES).map("/".join)
ENTRY = st.tuples(PATHS | FILES, st.just("picture") | st.sampled_from(sorted(ENTRIES)))


def write_folder(root, entries, *, whole):
    if whole:  # else most folders would lack a class
        entries = [
            *(
                (f"{s}/{c}/{i}.png", "picture")
                for s in ("train", "val")
                for c in "ab"
                for i in "12"
            ),
            *entries,
        ]
    for name, kind in entries:
        path = root / name
        if any(parent.is_symlink() or parent.is_file() for parent in (path, *path.parents)):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            ENTRIES[kind](path)


@pytest.mark.parametrize("examples", LANES)
def test_folders(examples):
    def outcome(folders):
        entries, whole, skip = folders
        with tempfile.TemporaryDirectory() as folder:
            write_folder(pathlib.Path(folder), entries, whole=whole)
            changes = {"dataset": "folder", "data_dir": folder, "image_size": 8}
            set_up(changes | {"data.skip_unreadable": skip})

    entries, whole = st.lists(ENTRY, max_size=6), st.sampled_from([True, True, True, False])
    holds_for(outcome, st.tuples(entries, whole, st.booleans()), examples)
