"""Makes the held-out examples that calibrators are fitted on: clean, moved, and moved further.

All are made from the calibration split of the run, in inference mode, and depend only on the seed:

- clean images, weight 1/4;
- each bucket of the first family of moves, weight 1/4: AugMix with the run's settings;
- each bucket of the second family, weight 1/2: RandAugment with the run's settings, which moves
  images further than training did.

For a run that trains with RandAugment it is the first family, and the second is AugMix at severity
10. Mixed and attacked images are no family, since the class of a mixed image is not certain and an
attack takes many passes.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import augment, buckets, input_pipeline
from autolabel_jax.augment import AugMix, RandAugment
from autolabel_jax.augment.operations import Chained
from autolabel_jax.calibrators import base, neighbours
from autolabel_jax.calibrators.base import HeldOut
from autolabel_jax.calibrators.neighbours import Reference
from autolabel_jax.datasets import Dataset, in_memory
from autolabel_jax.evaluation import predict
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.types import Batch

WEIGHTS = (0.25, 0.25, 0.5)  # of clean examples and of both families, in total
INTERVALS = 3  # of the distance, in each group of a family
MOST_PER_BUCKET = 2000  # examples; a larger calibration split is sampled
REFERENCES = 2000  # training images whose features are kept
FAR_SEVERITY = 10.0  # of AugMix as second family
PURPOSE = 15  # of random numbers, see ``input_pipeline.epoch_key``


def families(config: ConfigDict) -> tuple[Chained, Chained]:
    """Returns both families of moves of a run, with the settings of its config."""
    own = {name: dataclasses.replace(config) for name in ()}
    del own
    raise NotImplementedError
