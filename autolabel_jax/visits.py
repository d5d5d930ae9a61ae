"""Plans which held-out examples visit which buckets in an update that makes no full pass.

A visit evaluates one example in one bucket. Visits are numbered over the whole run: the examples
come in a fixed random order, again and again, the buckets in turn, and each round of the examples
begins one bucket later. So the visits of an update fill all buckets evenly, and after as many
rounds as buckets every example has been in every bucket once.
"""

import math

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from autolabel_jax import labels

LEAST = 24  # visits of each bucket in an update, on average


def check(config: ConfigDict, rule: labels.LabelRule) -> None:
    """Checks that no setting needs the full pass if there is none.

    Raises:
      ValueError: one does, or ``calibration.share`` is out of range.
    """
    share = config.calibration.share
    if not 0 < share <= 1000:
        raise ValueError(f"calibration.share: got {share}, must be above 0 and at most 1000")
    if config.calibration.exact:
        return
    if images := config.calibration.images_per_update:
        raise ValueError(
            f"calibration.images_per_update: got {images} with calibration.exact=False, where "
            "calibration.share sets the number of examples; use calibration.exact=True, or 0"
        )
    if isinstance(rule, labels.AutoLabel) and rule.momentum:
        raise ValueError(
            f"labels.momentum: got {rule.momentum} with calibration.exact=False, which carries "
            "sums by itself; use calibration.exact=True, or labels.momentum=0"
        )


def count(
    share: float,
    *,
    num_train: int,
    num_held_out: int,
    num_passes: int,
    batch_size: int,
    mesh: Mesh,
) -> int:
    """Returns the number of visits in an update, or 0 if a full pass makes no more.

    It depends on the config and the data alone, and fills its steps evenly.

    Args:
      share: number of visits per training example; there are more in small training sets, where
        ``LEAST`` asks for them, and to fill the batches.
      num_train: number of training examples.
      num_held_out: number of held-out examples.
      num_passes: how often a full pass evaluates each of them.
      batch_size: largest number of visits in a step.
      mesh: mesh whose devices divide a step.
    """
    wanted = max(math.ceil(share * num_train), LEAST * num_passes)
    steps, unit = num_steps(wanted, batch_size), math.lcm(64, mesh.devices.size)
    visits = steps * min(batch_size, -(-wanted // (unit * steps)) * unit)
    return visits if visits < num_held_out * num_passes else 0


def num_steps(visits: int, batch_size: int) -> int:
    """Returns the number of steps of an update."""
    return -(-visits // batch_size)


def place(
    first: int, num: int, order: np.ndarray, num_buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the examples and the buckets of consecutive visits.

    Args:
      first: number of the first visit in the run.
      num: number of visits.
      order: int [n], rows of the held-out split in their order.
      num_buckets: number of buckets N.

    Returns:
      (rows, bucket), int32 [num].
    """
    rounds, position = np.divmod(first + np.arange(num), len(order))
    bucket = (position + rounds) % num_buckets
    return order[position].astype(np.int32), bucket.astype(np.int32)
