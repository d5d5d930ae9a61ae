"""Evaluates the last checkpoint of a run on the test split.

    python -m experiments.evaluate --workdir=runs/a [--data_dir=…] [--corruptions]
        [--attacks=fgsm,pgd20,auto] [--temperature] [--examples=1000] [--views=mirror]

Metrics are reported before and after temperature scaling, and with --temperature also after vector
scaling, both fitted on the calibration set. With --views, the mean logits of each image and of
views of it are evaluated too: metrics ``views_…``. ``result.json`` of a finished run is updated. An
interrupted evaluation resumes from ``evaluation.jsonl``.
On several hosts: docs/distributed.md.
"""

from absl import flags

from autolabel_jax import processes, trained
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments import launch
from experiments.reporting import printing

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a training run.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_CORRUPTIONS = flags.DEFINE_bool("corruptions", False, "15 corruptions at 5 severities.")
_EXTRA = flags.DEFINE_bool(
    "extra_corruptions", False, "The 4 extra corruptions, reported separately, in no average."
)
_CORRUPTED_DATA = flags.DEFINE_string(
    "corrupted_data",
    "",
    "Folder of published sets to read instead of making them: CIFAR-10-C or CIFAR-100-C, "
    "ImageNet-C, or TFDS sets with cifar10_corrupted. Implies --corruptions.",
)
_ATTACKS = flags.DEFINE_list("attacks", [], "Some of fgsm, pgd20, auto; l-inf 8/255.")
_TEMPERATURE = flags.DEFINE_bool(
    "temperature", False, "Also fit vector scaling; temperature scaling is always fitted."
)
_EXAMPLES = flags.DEFINE_integer(
    "examples", 0, "Corrupt and attack the first N test images (0 = all).", lower_bound=0
)
_VIEWS = flags.DEFINE_list(
    "views", [], "Also evaluate the mean over the image and these views: mirror, augmix@DISTANCE."
)


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    run_dir = RunDir(_WORKDIR.value)
    config = run_dir.load_config(base.base())
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    corrupted = _CORRUPTIONS.value or (bool(_CORRUPTED_DATA.value) and not _EXTRA.value)
    source = f", read from {_CORRUPTED_DATA.value}" if _CORRUPTED_DATA.value else ""
    todo = ["the clean test split"]
    todo += [f"75 corrupted sets{source}"] if corrupted else []
    todo += [f"20 extra corrupted sets{source}"] if _EXTRA.value else []
    todo += [f"the attack {name}" for name in _ATTACKS.value]
    if processes.is_first():
        print(f"evaluating on {', '.join(todo)}", flush=True)
        print(f"finished sets are read from {run_dir.ledger.file.name}", flush=True)
    result = trained.evaluate(
        run_dir.path,
        config,
        corrupted=corrupted,
        extra_corrupted=_EXTRA.value,
        corrupted_data=_CORRUPTED_DATA.value,
        attack_names=_ATTACKS.value,
        vector_scaling=_TEMPERATURE.value,
        examples=_EXAMPLES.value,
        view_names=_VIEWS.value,
    )
    if not processes.is_first():
        return
    if result["epochs"] < config.epochs:
        print(f"not finished: {result['epochs']} of {config.epochs} epochs trained")
    print(printing.result_table([result]))
    print(f"\n{printing.evaluation_table(result)}")
    if _VIEWS.value:
        print(f"\nviews: the image, {result['views']}; {result['views_cost']:.2f} x the time")


if __name__ == "__main__":
    launch.run(main, required=["workdir"], several_processes=True)
