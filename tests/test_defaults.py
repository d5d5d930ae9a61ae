"""The defaults of a config, as configs see them, and the small variant."""

import pytest

from autolabel_jax import defaults
from configs import base


def test_configs_hand_on_the_defaults():
    assert base.base is defaults.base and base.tiny is defaults.tiny
    assert base.variant is defaults.variant


def test_tiny_needs_no_more_than_the_experiment():
    config = defaults.base()
    config.buckets.num, config.optimizer.warmup_epochs = 2, 0.5
    small = defaults.variant(config, "tiny")
    assert (small.buckets.num, small.optimizer.warmup_epochs) == (2, 0.5)
    assert small.train_examples == 1200 and small.epochs == 3


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="got 'huge', expected 'tiny'"):
        defaults.variant(defaults.base(), "huge")
