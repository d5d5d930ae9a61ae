"""Writes embeddings of images as a manifest: the input of a network's last layer, for each image.

    python -m experiments.embed --config=configs/finetune.py --data_dir=FOLDER \
        --config.model.init_from=FILE.safetensors --out=embeddings.parquet
    python -m experiments.embed --workdir=runs/a [--data_dir=…] --out=embeddings.parquet

The network has pretrained weights, or those of a finished run. Columns are input, label and split;
calibration examples count as training ones, so that each seed cuts its own. Images are not
augmented. `dataset='manifest'` reads the file, see configs/embeddings.py.
"""

import pathlib
from typing import Any

import pyarrow
from absl import flags
from pyarrow import parquet

from autolabel_jax import datasets, files, input_pipeline, models, trained
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.evaluation.scaling import Scaling
from autolabel_jax.models import pretrained
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments import config_flag, embedding, launch

_CONFIG = config_flag.define()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run, instead of --config.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets; sets config.data_dir.")
_OUT = flags.DEFINE_string("out", None, "File to write, .parquet.")


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    if (_CONFIG.value is None) == (_WORKDIR.value is None):
        raise ValueError("expected one of --config and --workdir")
    out = pathlib.Path(_OUT.value)
    if out.suffix != ".parquet":
        raise ValueError(f"--out: got {out}, expected a name that ends in .parquet")
    config = _CONFIG.value
    if config is None:
        config = RunDir(pathlib.Path(_WORKDIR.value)).load_config(base.base())
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    predictor, dataset = _restored(config) if _WORKDIR.value else _pretrained(config)
    table = embedding.table(predictor, dataset)
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    with files.replacing(out) as file:
        file.write(sink.getvalue().to_pybytes())
    print(f"wrote {table.num_rows} embeddings of {len(table['input'][0])} numbers to {out}")


def _restored(config: Any) -> tuple[Predictor, datasets.Dataset]:
    run = trained.restore(_WORKDIR.value, config)
    return run.predictor(), run.dataset


def _pretrained(config: Any) -> tuple[Predictor, datasets.Dataset]:
    """Makes a network with the weights of ``model.init_from``."""
    path = config.model.init_from
    if not path:
        raise ValueError("model.init_from: got '', expected the weights of the network")
    dataset = datasets.load(config)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    shape = dataset.train.input.shape[1:]
    params, batch_stats = models.shapes(experiment.model, shape)
    variables = {"params": params, "batch_stats": batch_stats}
    weights = pretrained.read(path, models.find(config.model.name), variables)
    state = experiment_lib.init_state(experiment, config.seed, shape, weights)
    predictor = Predictor(
        model=experiment.model,
        variables=experiment_lib.inference_variables(state),
        scaling=Scaling(1.0),
        num_classes=experiment.num_classes,
        batch_size=experiment.eval_batch_size,
        mesh=experiment.mesh,
    )
    return predictor, dataset


if __name__ == "__main__":
    launch.run(main, required=["out"])
