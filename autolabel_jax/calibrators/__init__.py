"""Lists calibrators, which map the logits and features of any input to calibrated logits.

Each is in its own file, under a name that says what it reads; ``base`` has their interface.
``Calibrator`` is for logits of any framework, and works like an estimator of scikit-learn.
"""

from autolabel_jax.calibrators.base import HeldOut, Method
from autolabel_jax.calibrators.bucket import Bucket
from autolabel_jax.calibrators.estimator import Calibrator
from autolabel_jax.calibrators.table import RULES, TABLE, WITH_VIEWS

__all__ = ["RULES", "TABLE", "WITH_VIEWS", "Bucket", "Calibrator", "HeldOut", "Method"]
