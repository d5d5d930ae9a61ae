"""Every config: the fields of the base, the variants, and one that trains."""

import importlib
import pathlib

import pytest

from autolabel_jax import augment, buckets, labels, models, train
from configs import base

FOLDER = pathlib.Path(base.__file__).parent
NAMES = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("base", "__init__"))


def get(name, arg=None):
    return importlib.import_module(f"configs.{name}").get_config(arg)


def fields(tree, prefix=""):
    """Names and types of all fields, with their dots."""
    found = {}
    for name, value in tree.items():
        inner = hasattr(value, "items")
        found |= fields(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": type(value)}
    return found


def test_the_configs_are_found():
    assert {"digits_augmix", "cifar10_augmix", "cifar10_small"} <= set(NAMES)


@pytest.mark.parametrize("arg", [None, "", "tiny"])
@pytest.mark.parametrize("name", NAMES)
def test_has_the_fields_of_the_base_and_known_names(name, arg):
    config = get(name, arg)
    assert fields(config) == fields(base.base())
    assert config.name == (f"{name}_tiny" if arg == "tiny" else name)
    assert config.augment.name in augment.TABLE
    assert config.labels.rule in labels.TABLE
    assert config.model.name in models.TABLE
    assert config.dtype in models.DTYPES
    assert config.buckets.edges in buckets.EDGES


@pytest.mark.parametrize("name", NAMES)
def test_tiny_is_small_and_still_the_same_experiment(name):
    config, tiny = get(name), get(name, "tiny")
    assert tiny.epochs * tiny.train_examples <= 3600
    assert tiny.batch_size <= tiny.train_examples * (1 - tiny.calibration.fraction)
    same = ("dataset", "seed", "augment", "labels", "calibration", "optimizer", "crop_pad", "flip")
    config.augment.num_steps = tiny.augment.num_steps  # of an attack: fewer in tiny
    for field in same:
        assert tiny[field] == config[field], field


@pytest.mark.parametrize("name", NAMES)
def test_another_variant_is_refused(name):
    with pytest.raises(ValueError, match="'nonsense', known is 'tiny'"):
        get(name, "nonsense")


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_the_command(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    assert f"python -m experiments.train --config=configs/{name}.py" in text


@pytest.mark.xdist_group("runs")
def test_tiny_digits_train(tmp_path):
    config = get("digits_augmix", "tiny")
    config.epochs, config.train_examples, config.model.width = 1, 240, 4
    config.augment.max_depth = 1
    found = train.train(config, tmp_path, progress=False)
    assert found["name"] == "digits_augmix_tiny"
    assert found["augmentation"] == "augmix"
    assert found["test_examples"] == 500
    assert 0 <= found["accuracy"] <= 1
