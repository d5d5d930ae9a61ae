"""The ONNX form of a predictor, run by ONNX Runtime alone; and what is refused.

The slow tests need the Python program of an environment with requirements-onnx.txt, which
AUTOLABEL_ONNX_PYTHON names.
"""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import helpers
import jax
import numpy as np
import predictor_folders
import pytest

from autolabel_jax import calibrators, files, models
from autolabel_jax.commands import main
from autolabel_jax.datasets import InputSpec
from autolabel_jax.predictor import exporting, onnx_model, program
from autolabel_jax.predictor.program import Calibrated

SPEC = InputSpec(shape=(32, 32, 3), kind="image", dtype="uint8", low=0.0, high=255.0)
MODELS = {
    "mlp": {"model__name": "mlp", "model__width": 32},
    "small_cnn": {"model__name": "small_cnn", "model__width": 16},
    "WRN-16-4": {"model__name": "wide_resnet", "model__depth": 16, "model__width": 4},
    "ResNet-18": {"model__name": "resnet18"},
    "ResNet-50": {"model__name": "resnet50"},
}
# Runs where neither jax nor this project can be imported.
ALONE = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
inputs = np.load(sys.argv[2])
found = [session.run(None, {"inputs": x})[0] for x in (inputs, inputs[:1], inputs[1:8])]
np.save(sys.argv[3], np.concatenate(found))
assert not {"jax", "autolabel_jax"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def python():
    """Python program of the environment for ONNX."""
    name = os.environ.get("AUTOLABEL_ONNX_PYTHON", helpers.ROOT / ".venv-onnx" / "bin" / "python")
    try:
        onnx_model.check(str(name))
    except ValueError as error:
        pytest.skip(f"set AUTOLABEL_ONNX_PYTHON: {error}")
    return str(name)


def random_model(**changes):
    """A network with random weights and statistics, whose classes differ."""
    config = helpers.small_config(**changes)
    model = models.create(config, num_classes=10, spec=SPEC, mean=[0.5] * 3, std=[0.25] * 3)
    params, stats = models.init(model, jax.random.key(0), SPEC.shape)
    rng = np.random.default_rng(0)

    def moved(x):  # means of 0 and variances of 1
        return (x * rng.uniform(0.6, 1.4, x.shape) + rng.uniform(-0.1, 0.1, x.shape)).astype("f4")

    variables = {"params": jax.device_get(params), "batch_stats": jax.tree.map(moved, stats)}
    vector = {"scale": np.ones(10, np.float32), "bias": np.zeros(10, np.float32)}
    return Calibrated(model, variables, calibrators.TABLE["vector"], vector)


def outputs(calibrated, inputs):
    apply, tree = program.smallest(calibrated, SPEC)
    return jax.tree.map(np.asarray, jax.jit(apply)(tree, inputs))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_alone_has_the_same_probabilities(name, python, tmp_path):
    rng = np.random.default_rng(1)
    colour = rng.uniform(0, 256, (64, 1, 1, 3))
    inputs = (colour * rng.uniform(0, 1, (64, *SPEC.shape))).astype(np.uint8)
    calibrated = random_model(**MODELS[name])
    logits = outputs(calibrated, inputs)["logits"]
    scale = 1 / logits.std(0)
    params = {"scale": scale, "bias": -scale * logits.mean(0)}
    calibrated = dataclasses.replace(calibrated, params=params)
    expected = outputs(calibrated, inputs)["probabilities"]
    assert len(set(expected.argmax(-1))) > 4 and np.ptp(expected.max(-1)) > 0.1
    model, found, versions = onnx_model.convert(calibrated, SPEC, inputs, python)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert versions["jax2onnx"] == "0.17.1"
    (tmp_path / "model.onnx").write_bytes(model)
    np.save(tmp_path / "inputs.npy", inputs)
    paths = [tmp_path / name for name in ("model.onnx", "inputs.npy", "found.npy")]
    subprocess.run([python, "-I", "-c", ALONE, *paths], check=True, cwd=tmp_path)
    found = np.load(tmp_path / "found.npy")
    by_batch = np.concatenate([expected, expected[:1], expected[1:8]])
    np.testing.assert_allclose(found, by_batch, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(-1), by_batch.argmax(-1))


@pytest.mark.slow
@pytest.mark.parametrize("calibrator", ["temperature", "vector"])
def test_export_adds_the_model_of_a_run(calibrator, python, tmp_path):
    run, out = predictor_folders.digits()[0], tmp_path / "predictor"
    given = [f"--run={run}", f"--out={out}", "--format=jax,onnx", f"--onnx_python={python}"]
    assert main.main(["export", *given, f"--calibrator={calibrator}"]) == 0
    info = files.read_json(out / "predictor.json")
    assert info["versions"]["onnxruntime"] and "model.onnx" in info["files"]
    exporting.export_run(run, out)
    assert not (out / "model.onnx").exists()  # the folder is replaced as a whole


@pytest.mark.slow
def test_an_operation_without_a_conversion_is_named(python, tmp_path, monkeypatch):
    (tmp_path / "fourier_net.py").write_text(
        "import jax.numpy as jnp\n"
        "from flax import linen as nn\n\n\n"
        "class FourierNet(nn.Module):\n"
        "    num_classes: int\n"
        "    dtype: type = jnp.float32\n\n"
        "    @nn.compact\n"
        "    def __call__(self, x, train=False):\n"
        "        x = jnp.abs(jnp.fft.rfft(x.mean((1, 3))))\n"
        "        return nn.Dense(self.num_classes)(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(helpers.ROOT)]))
    calibrated = random_model(model__name="fourier_net:FourierNet")
    with pytest.raises(ValueError, match="^--format=onnx: not converted by .*DFT") as error:
        onnx_model.convert(calibrated, SPEC, np.zeros((1, *SPEC.shape), np.uint8), python)
    assert "\n" not in str(error.value)


def test_a_model_that_differs_in_onnx_runtime_is_not_kept(tmp_path, monkeypatch):
    def convert(calibrated, spec, inputs, python):
        del spec, python
        found = outputs(calibrated, inputs)["probabilities"]
        return b"", found + np.float32(moved), {}

    monkeypatch.setattr(onnx_model, "check", lambda python: None)
    monkeypatch.setattr(onnx_model, "convert", convert)
    run, moved = predictor_folders.digits()[0], 2e-5
    with pytest.raises(ValueError, match=r"not exported, as ONNX Runtime differs .* at most 1e-05"):
        exporting.export_run(run, tmp_path / "predictor", onnx_python="python")
    assert not list(tmp_path.iterdir())
    moved = 2e-6
    exporting.export_run(run, tmp_path / "predictor", onnx_python="python")
    assert (tmp_path / "predictor" / "model.onnx").read_bytes() == b""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "--format=onnx: needs a Python environment of its own; make one with `python -m"),
        (["--onnx_python=nowhere"], "--onnx_python: got 'nowhere', which is no program; make one"),
        ([f"--onnx_python={sys.executable}"], f"--onnx_python: {sys.executable} lacks jax2onnx"),
    ],
)
def test_an_environment_that_will_not_do_is_named_in_one_line(given, message, tmp_path, capsys):
    run = predictor_folders.digits()[0]
    command = ["export", f"--run={run}", f"--out={tmp_path / 'a'}", "--format=onnx"]
    assert main.main([*command, *given]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}") and "jax2onnx==0.17.1" in line
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_named(capsys):
    with pytest.raises(SystemExit):
        main.main(["export", "--run=a", "--out=b", "--format=jax,onx"])
    assert "argument --format: got onx, expected jax, or jax,onnx" in capsys.readouterr().err


def test_the_packages_are_those_of_the_requirements():
    """With the versions of the runtime set, which the weights and classes are pickled with."""

    def pins(name):
        lines = pathlib.Path(helpers.ROOT / name).read_text().splitlines()
        return {line for line in lines if re.match("[a-z]", line)}

    onnx = pins("requirements-onnx.txt")
    for package in onnx_model.PACKAGES.values():
        assert any(line.startswith(package) for line in onnx), package
    own = {line for line in onnx if line.split("==")[0] not in ("jax2onnx", "onnxruntime")}
    assert own and own <= pins("requirements.txt")
