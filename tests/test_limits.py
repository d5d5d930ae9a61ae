"""What no field of any config may be."""

import importlib
import pathlib
import re

import pytest
from flax import traverse_util

from autolabel_jax import limits
from configs import base

FILES = pathlib.Path(base.__file__).parent.glob("*.py")
CONFIGS = sorted(p.stem for p in FILES if "def get_config(" in p.read_text("utf-8"))


@pytest.mark.parametrize("arg", ["", "tiny"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_within_its_limits(name, arg):
    limits.check(importlib.import_module(f"configs.{name}").get_config(arg))


def changed(field, value):
    config = base.base()
    config.update_from_flattened_dict({field: value})
    return config


@pytest.mark.parametrize("field", limits.LIMITS)
def test_limits_are_allowed_and_what_is_beyond_is_not(field):
    low, high = limits.LIMITS[field]
    for value in filter(lambda end: end is not None, (low, high)):
        limits.check(changed(field, value))
    for value in [low - 1] + ([] if high is None else [high + 1]):
        with pytest.raises(ValueError, match=rf"^{re.escape(field)}: got {value}, must be "):
            limits.check(changed(field, value))


def test_the_other_numbers_of_the_base_that_count_have_limits():
    """A field of whole numbers is in LIMITS, or declared by a method."""
    flat = traverse_util.flatten_dict(base.base().to_dict(), sep=".")
    whole = {name for name, value in flat.items() if type(value) is int}
    assert whole - limits.LIMITS.keys() == {
        *("model.depth", "model.width", "model.patch", "labels.start_epoch"),
        *("augment.max_depth", "augment.chains", "augment.max_operations", "augment.num_steps"),
        *("augment.policy_seed", "augment.num_masks", "loss.copies"),
    }


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labels.alpha", float("inf"), "must be finite"),
        ("optimizer.weight_decay", float("nan"), "must be finite"),
        ("optimizer.boundaries", (0.3, float("nan")), "must be finite"),
        ("seed", 2**63, "must fit 64 bits"),
        ("name", "two\nlines", "must be one line of text"),
        ("data_dir", "a\0b", "must be one line of text"),
        ("data_dir", "a\u2028b", "must be one line of text"),
    ],
)
def test_what_no_field_may_be(field, value, message):
    with pytest.raises(ValueError, match=rf"^{re.escape(field)}: got .*{message}$"):
        limits.check(changed(field, value))
