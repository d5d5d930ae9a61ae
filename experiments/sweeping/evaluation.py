"""Defines the flags of ``experiments.evaluate`` that a sweep passes on."""

from typing import Any

from absl import flags

from autolabel_jax.evaluation import run

_CORRUPTIONS = flags.DEFINE_bool("corruptions", False, "Evaluate on 15 corruptions, 5 severities.")
_EXTRA = flags.DEFINE_bool("extra_corruptions", False, "Evaluate on the 4 extra corruptions.")
_CORRUPTED_DATA = flags.DEFINE_string(
    "corrupted_data", "", "Read published corrupted sets in this folder. Implies --corruptions."
)
_ATTACKS = flags.DEFINE_list("attacks", [], "Evaluate under some of fgsm, pgd20, auto.")
_TEMPERATURE = flags.DEFINE_bool("temperature", False, "Evaluate with vector scaling too.")
_EXAMPLES = flags.DEFINE_integer(
    "examples", 0, "Corrupt and attack the first N test images (0 = all).", lower_bound=0
)


def keywords() -> dict[str, Any]:
    """Returns arguments of ``trained.evaluate`` from flags; {} if no evaluation is requested.

    Raises:
      ValueError: an attack is unknown.
    """
    run.plan(corrupted=False, attack_names=_ATTACKS.value, num_examples=0)
    folder, extra = _CORRUPTED_DATA.value, _EXTRA.value
    asked = {
        "corrupted": _CORRUPTIONS.value or (bool(folder) and not extra),
        "extra_corrupted": extra,
        "corrupted_data": folder,
        "attack_names": list(_ATTACKS.value),
        "vector_scaling": _TEMPERATURE.value,
    }
    asked = {name: value for name, value in asked.items() if value}
    return asked | {"examples": _EXAMPLES.value} if asked else {}
