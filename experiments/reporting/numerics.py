"""The numerics version of runs from before ``result.json`` held one.

Runs compare when config and numerics version agree; ``autolabel_jax.NUMERICS_VERSION`` is today's.
"""

from typing import Any

UNKNOWN = 0  # compares with its own revision alone

# Found by running the same commands at each of these commits and at eb38ad4 (version 2), with the
# packages of requirements.txt on a CPU (Python 3.11, jax 0.10.2), and comparing metrics.jsonl
# without its times and all metrics of result.json. Commits of one version gave equal bits in all:
#
#   JAX_PLATFORMS=cpu python -m experiments.train --workdir=… \
#       --config=configs/digits_augmix.py --config.epochs=3 --config.model.width=16
#
# the same with --config.augment.name=mixup, randaugment and adversarial; with
# --config.buckets.edges=kmeans --config.optimizer.ema=0.9; evaluated with --corruptions
# --attacks=fgsm,pgd20; and --config=configs/cifar10_augmix.py:tiny --config.epochs=2. And 51
# runs in results/ that both 6a4f37e and 62ff0e0 made have equal bits. The stored runs of 015e101
# and 6d865fa were made on a GPU and were not run again there: their versions are those of the CPU.
VERSIONS = {
    "015e101289b7bc4092138ba5880f7a59234662db": 1,
    "6d865fa1a5554822f9e8b2686cc13eaa711de50e": 2,
    "6a4f37e84944b1f75687223ddf6cc304526b5dd1": 2,
    "9b67fdb405cc9d6d9f947ff606f10863bcb4515c": 2,
    "62ff0e0630507546ba90cec5f30b5b28266b1f56": 2,
}


def identity(result: dict[str, Any]) -> dict[str, Any]:
    """Returns what must be equal for runs of one config to be compared."""
    commit = result["revision"].removesuffix("-dirty")
    known = result.get("numerics_version", VERSIONS.get(commit, UNKNOWN))
    return {"numerics_version": known, **({} if known else {"revision": commit})}
