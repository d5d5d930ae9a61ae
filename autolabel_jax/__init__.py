"""AutoLabel in JAX: labels for augmented images, learned from calibration.

The folder list is the data path, see docs/layout.md.
"""

import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autolabel_jax.predictor import LoadedPredictor

__version__ = "0.1.0"
# Raised when a change moves bits of a run: runs compare when config and this number agree.
NUMERICS_VERSION = 3


def load_predictor(folder: str | pathlib.Path) -> "LoadedPredictor":
    """Loads a predictor, a function of inputs; see ``predictor.load``."""
    from autolabel_jax import predictor  # imports jax

    return predictor.load(folder)
