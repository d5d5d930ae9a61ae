"""Evaluates the last checkpoint of a run on the test split.

    python -m experiments.evaluate --workdir=runs/a [--data_dir=…] [--corruptions]
        [--attacks=fgsm,pgd20,auto] [--temperature] [--examples=1000] [--views=mirror]
        [--ood=cifar100,noise]

Metrics are reported before and after temperature scaling, and with --temperature also after vector
scaling, both fitted on the calibration set. With --views, the mean logits of each image and of
views of it are evaluated too: metrics ``views_…``. With --ood, scores of the logits tell the test
split from other data sets: metrics ``ood_…``. ``result.json`` of a finished run is updated. An
interrupted evaluation resumes from ``evaluation.jsonl``.
On several hosts: docs/distributed.md.
"""

from absl import flags

from autolabel_jax import processes, trained
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments import evaluation_flags, launch
from experiments.reporting import rendering

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a training run.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    run_dir = RunDir(_WORKDIR.value)
    config = run_dir.load_config(base.base())
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    asked = evaluation_flags.keywords()
    source = f", read from {folder}" if (folder := asked.get("corrupted_data")) else ""
    todo = ["the clean test split"]
    todo += [f"corrupted sets{source}"] if "corrupted" in asked else []
    todo += [f"20 extra corrupted sets{source}"] if "extra_corrupted" in asked else []
    todo += [f"the attack {name}" for name in asked.get("attack_names", ())]
    todo += [f"{name} as another data set" for name in asked.get("ood_names", ())]
    if processes.is_first():
        print(f"evaluating on {', '.join(todo)}", flush=True)
        print(f"finished sets are read from {run_dir.ledger.file.name}", flush=True)
    result = trained.evaluate(run_dir.path, config, **asked)
    if not processes.is_first():
        return
    if not run_dir.is_finished and result["epochs"] < config.epochs:
        print(f"not finished: {result['epochs']} of {config.epochs} epochs trained")
    print(rendering.result_table([result]))
    print(f"\n{rendering.evaluation_table(result)}")
    if "ood_names" in asked:
        print(f"\n{rendering.ood_table(result)}")
    if "view_names" in asked:
        print(f"\nviews: the image, {result['views']}; {result['views_cost']:.2f} x the time")


if __name__ == "__main__":
    launch.run(main, required=["workdir"], several_processes=True)
