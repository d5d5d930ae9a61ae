"""Networks against forward passes in NumPy, and the published parameter counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import special

from autolabel_jax import models
from autolabel_jax.datasets import KINDS, InputSpec
from autolabel_jax.models import features, layers
from configs import base

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
KEY = jax.random.key(0)
NAMES = tuple(name for name, net in models.TABLE.items() if "image" in getattr(net, "kinds", KINDS))
DEEP = ("resnet50", "efficientnet_lite0")
WITHOUT_BATCH_NORM = ("mlp", "vit")


def make_config(name, *, depth=10, width=2, dtype="float32"):
    config = base.base()
    config.model.name, config.model.depth, config.model.width = name, depth, width
    config.model.patch, config.dtype = 4, dtype
    return config


def make_model(name, *, num_classes=10, mean=MEAN, std=STD, kind="image", **settings):
    config = make_config(name, **settings)
    spec = InputSpec(kind, (8, 8, 3), "float32", 0, 1)
    return models.create(config, num_classes=num_classes, spec=spec, mean=mean, std=std)


@functools.cache
def make_shapes(model, shape):
    return jax.eval_shape(lambda key: models.init(model, key, shape), jax.random.key(0))


def make_variables(name, *, shape=(8, 8, 3), **settings):
    """A model whose every leaf, also those that start at 0 or 1, is random."""
    model = make_model(name, **settings)
    rng = np.random.default_rng(0)
    params, batch_stats = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), make_shapes(model, shape)
    )

    def scaled(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            return leaf * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        return np.exp(leaf / 4) if kind in ("scale", "var") else leaf / 4

    params, batch_stats = jax.tree_util.tree_map_with_path(scaled, (params, batch_stats))
    return model, {"params": params, "batch_stats": batch_stats}


def make_images(num, shape=(8, 8, 3)):
    return np.random.default_rng(1).uniform(size=(num, *shape)).astype(np.float32)


# The same networks by hand, in float64. They take the layers of one module in order.


class Reference:
    epsilon = 1e-5  # of batch norm

    def __init__(self, variables, train):
        self.params, self.stats = variables["params"]["net"], variables["batch_stats"].get("net")
        self.train, self.place, self.updated = train, {}, {}
        self.stages, self.drift = [], []

    def _next(self, module, kind):
        count = self.place.get((module, kind), 0)
        self.place[module, kind] = count + 1
        return f"{kind}_{count}"

    def _leaves(self, tree, module, layer):
        return (tree[module] if module else tree)[layer]

    def conv(self, x, stride=1, module=None):
        kernel = self._leaves(self.params, module, self._next(module, "Conv"))["kernel"]
        size = kernel.shape[0]
        pad = (size - 1) // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
        windows = windows[:, ::stride, ::stride]
        return np.einsum("bhwcij,ijco->bhwo", windows, kernel.astype(np.float64), optimize=True)

    def norm(self, x, module=None):
        layer = self._next(module, "BatchNorm")
        leaves = self._leaves(self.params, module, layer)
        running = self._leaves(self.stats, module, layer)
        mean, var = running["mean"].astype(np.float64), running["var"].astype(np.float64)
        if self.train:
            own = x.mean((0, 1, 2)), x.var((0, 1, 2))
            new = {"mean": 0.9 * mean + 0.1 * own[0], "var": 0.9 * var + 0.1 * own[1]}
            self.updated[module, layer] = new
            mean, var = own
        moved = (x.mean((1, 2)) - mean) ** 2 / (var + self.epsilon)
        ratio = np.maximum(x.var((1, 2)) / (var + self.epsilon), 1e-6)
        self.drift.append((np.log(moved.mean(-1) + 1e-4), np.log(ratio).mean(-1)))
        return (x - mean) / np.sqrt(var + self.epsilon) * leaves["scale"] + leaves["bias"]

    def stage(self, x):
        self.stages.append(x.mean(tuple(range(1, x.ndim - 1))))
        return x

    def dense(self, x, module=None):
        self.penultimate = x
        leaves = self._leaves(self.params, module, self._next(module, "Dense"))
        return x @ leaves["kernel"].astype(np.float64) + leaves["bias"]

    def layer_norm(self, x, module=None):
        leaves = self._leaves(self.params, module, self._next(module, "LayerNorm"))
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * leaves["scale"] + leaves["bias"]


def relu(x):
    return np.maximum(x, 0)


def mlp(net, x):
    x = x.reshape(len(x), -1)
    x = net.stage(relu(net.dense(x)))
    return net.dense(net.stage(relu(net.dense(x))))


def small_cnn(net, x):
    for stride in (2, 2, 1, 1):
        x = net.stage(relu(net.norm(net.conv(x, stride))))
    return net.dense(x.mean((1, 2)))


def wide_resnet(net, x):  # depth 10: one block a stage, each of which changes the shape
    x = net.conv(x)
    for stage, stride in enumerate((1, 2, 2)):
        block = f"Block_{stage}"
        y = relu(net.norm(x, block))
        shortcut = net.conv(y, stride, block)
        y = relu(net.norm(net.conv(y, stride, block), block))
        x = net.stage(shortcut + net.conv(y, 1, block))
    return net.dense(relu(net.norm(x)).mean((1, 2)))


def resnet18(net, x):
    x = relu(net.norm(net.conv(x)))
    for i, stride in enumerate((1, 1, 2, 1, 2, 1, 2, 1)):
        block = f"Block_{i}"
        y = relu(net.norm(net.conv(x, stride, block), block))
        y = net.norm(net.conv(y, 1, block), block)
        x = relu(y + (x if stride == 1 else net.norm(net.conv(x, stride, block), block)))
        if i % 2:
            net.stage(x)
    return net.dense(x.mean((1, 2)))


def max_pool(x):
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return windows[:, ::2, ::2].max((-2, -1))


def resnet50(net, x):
    x = max_pool(relu(net.norm(net.conv(x, 2))))
    for i in range(16):
        block, stride = f"Bottleneck_{i}", 2 if i in (3, 7, 13) else 1
        y = relu(net.norm(net.conv(x, 1, block), block))
        y = relu(net.norm(net.conv(y, stride, block), block))
        y = net.norm(net.conv(y, 1, block), block)
        x = relu(y + (net.norm(net.conv(x, stride, block), block) if i in (0, 3, 7, 13) else x))
    return net.dense(x.mean((1, 2)))


def attention(qkv, heads):
    """Head by head and image by image, as in the paper's appendix A."""
    q, k, v = np.split(qkv, 3, axis=-1)
    out = np.empty_like(q)
    for b in range(len(q)):
        for h in range(heads):
            own = slice(64 * h, 64 * (h + 1))
            scores = np.exp(q[b, :, own] @ k[b, :, own].T / 8)
            out[b, :, own] = scores / scores.sum(-1, keepdims=True) @ v[b, :, own]
    return out


def vit(net, x):  # tiny, patches of 4 pixels
    embedding = net.params["Embedding_0"]
    kernel = embedding["Conv_0"]["kernel"].astype(np.float64).reshape(-1, 192)
    rows, columns = x.shape[1] // 4, x.shape[2] // 4
    patches = x.reshape(len(x), rows, 4, columns, 4, -1).transpose(0, 1, 3, 2, 4, 5)
    x = patches.reshape(len(x), rows * columns, -1) @ kernel + embedding["Conv_0"]["bias"]
    token = np.broadcast_to(embedding["cls_token"], (len(x), 1, 192))
    x = np.concatenate([token, x], axis=1) + embedding["pos_embed"]
    for i in range(12):
        block = f"EncoderBlock_{i}"
        y = attention(net.dense(net.layer_norm(x, block), block), heads=3)
        x = x + net.dense(y, block)
        y = net.dense(net.layer_norm(x, block), block)
        y = y * special.ndtr(y)  # GELU
        x = net.stage(x + net.dense(y, block))
    return net.dense(net.layer_norm(x)[:, 0])


def same(net, x, size, stride, module=None, grouped=False):
    """A convolution padded as TensorFlow documents 'SAME'."""
    kernel = net._leaves(net.params, module, net._next(module, "Conv"))["kernel"]
    assert kernel.shape[0] == size
    pads = []
    for side in x.shape[1:3]:
        pad = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads.append((pad // 2, pad - pad // 2))
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    windows = windows[:, ::stride, ::stride]
    if grouped:
        return np.einsum("bhwcij,ijc->bhwc", windows, kernel[:, :, 0].astype(np.float64))
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel.astype(np.float64), optimize=True)


def efficientnet_lite0(net, x):
    def relu6(x):
        return np.clip(x, 0, 6)

    net.epsilon = 1e-3
    x = relu6(net.norm(same(net, x, 3, 2)))
    number = 0
    # The published table: repeats, kernel, stride, expansion.
    for stage in ("1311", "2326", "2526", "3326", "3516", "4526", "1316"):
        repeats, size, first, expansion = map(int, stage)
        for i in range(repeats):
            block, stride = f"InvertedResidual_{number}", first if i == 0 else 1
            y = x if expansion == 1 else relu6(net.norm(same(net, x, 1, 1, block), block))
            y = relu6(net.norm(same(net, y, size, stride, block, grouped=True), block))
            y = net.norm(same(net, y, 1, 1, block), block)
            x, number = (x + y if i else y), number + 1
        net.stage(x)
    return net.dense(relu6(net.norm(same(net, x, 1, 1))).mean((1, 2)))


FORWARD = {
    "efficientnet_lite0": efficientnet_lite0,
    "vit": vit,
    "mlp": mlp,
    "small_cnn": small_cnn,
    "wide_resnet": wide_resnet,
    "resnet18": resnet18,
    "resnet50": resnet50,
}


# In inference the logits are those of test_features_by_hand. Of those that train as they infer,
# and of two networks of the same blocks with batch norm, one is enough.
SLOW = ("resnet18", "resnet50")  # wide_resnet has the same parts
BY_HAND = [(n, True) for n in NAMES if n not in (*WITHOUT_BATCH_NORM, *SLOW)]
OTHERS = [(name, False) for name in NAMES]
OTHERS += [(name, True) for name in (*WITHOUT_BATCH_NORM, *SLOW)]
BY_HAND += [pytest.param(*other, marks=pytest.mark.slow) for other in OTHERS]


@pytest.mark.parametrize(("name", "train"), BY_HAND)
def test_forward_by_hand(name, train):
    # Batch norm over three single places magnifies rounding; a deep network needs larger images.
    shape = (64, 64, 3) if name in DEEP else (8, 8, 3)
    model, variables = make_variables(name, shape=shape)
    image = make_images(3, shape)
    logits, updated = jax.jit(model.apply, static_argnames=("train", "mutable"))(
        variables, image, train=train, mutable=("batch_stats",)
    )
    reference = Reference(variables, train)
    inputs = (image.astype(np.float64) - np.array(MEAN)) / np.array(STD)
    expected = FORWARD[name](reference, inputs)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    before = variables["batch_stats"]
    if not train:
        jax.tree.map(np.testing.assert_array_equal, updated.get("batch_stats", {}), before)
    else:
        assert len(reference.updated) == len(jax.tree.leaves(before)) / 2
    for (module, layer), leaves in reference.updated.items():
        tree = updated["batch_stats"]["net"]
        found = (tree[module] if module else tree)[layer]
        for kind, leaf in leaves.items():
            np.testing.assert_allclose(found[kind], leaf, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "depth", "width", "count"),
    [
        # Zagoruyko & Komodakis (2016), tables 4 and 5, in millions; the first two by summing
        # over layers: stem 432, convolutions and 1 × 1 shortcuts without biases, batch norm
        # two a channel, dense 641 · 10 and 257 · 10.
        ("wide_resnet", 28, 10, 36_479_194),
        ("wide_resnet", 16, 4, 2_748_890),
        ("wide_resnet", 28, 4, 5.8e6),
        ("wide_resnet", 40, 2, 2.2e6),
        ("wide_resnet", 40, 1, 0.6e6),
        # PyTorch's CIFAR ResNet-18.
        ("resnet18", 28, 10, 11_173_962),
        # torchvision's resnet50, documented with its weights; 10 classes in place of 1,000.
        ("resnet50", 28, 10, 25_557_032 - 990 * 2049),
        # timm's efficientnet_lite0, in its table of results: 4.65 million with 1,000 classes.
        ("efficientnet_lite0", 28, 10, 4_652_008 - 990 * 1281),
        # timm's vit_tiny_patch16_224 with its 1,000 classes has 5,717,416; here it has 10 classes,
        # 65 tokens in place of 197, and patches of 4 pixels in place of 16.
        ("vit", 28, 10, 5_717_416 - 990 * 193 - 132 * 192 - 3 * 240 * 192),
        ("small_cnn", 28, 16, 27 * 16 + 9 * (16 * 32 + 2 * 32 * 32) + 2 * 112 + 33 * 10),
        ("mlp", 28, 16, 3073 * 16 + 17 * 16 + 17 * 10),
    ],
)
def test_parameter_count(name, depth, width, count):
    params, _ = make_shapes(make_model(name, depth=depth, width=width), (32, 32, 3))
    found = sum(leaf.size for leaf in jax.tree.leaves(params))
    if isinstance(count, float):  # published to two digits
        assert abs(found - count) <= 0.05e6
    else:
        assert found == count


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        pytest.param((8, 8, 1), "float32", marks=pytest.mark.slow),
        ((28, 28, 1), "bfloat16"),
        pytest.param((32, 32, 3), "bfloat16", marks=pytest.mark.slow),
        pytest.param((64, 48, 3), "float32", marks=pytest.mark.slow),
    ],
)
def test_shapes_and_dtypes(name, shape, dtype):
    channels = shape[-1]
    model = make_model(name, num_classes=7, mean=(0.5,) * channels, std=0.2, dtype=dtype)
    params, batch_stats = make_shapes(model, shape)
    variables = {"params": params, "batch_stats": batch_stats}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert bool(batch_stats) == (name not in WITHOUT_BATCH_NORM)
    image = jax.ShapeDtypeStruct((5, *shape), jnp.float32)
    logits, updated = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, image
    )
    assert (logits.shape, logits.dtype) == ((5, 7), jnp.float32)
    if batch_stats:
        same = jax.tree.map(
            lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype),
            *(batch_stats, updated["batch_stats"]),
        )
        assert all(jax.tree.leaves(same))


def test_mlp_takes_vectors():
    model, variables = make_variables("mlp", shape=(6,), mean=0.3, std=0.5)
    vectors = make_images(4, (6,))
    expected = mlp(Reference(variables, False), (vectors.astype(np.float64) - 0.3) / 0.5)
    np.testing.assert_allclose(model.apply(variables, vectors), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["wide_resnet", "small_cnn", "mlp"])
def test_bfloat16_is_close_to_float32(name):
    model, variables = make_variables(name)
    low = make_model(name, dtype="bfloat16")
    image = make_images(16)
    exact = np.asarray(jax.jit(model.apply)(variables, image))
    rounded = np.asarray(jax.jit(low.apply)(variables, image))
    # bfloat16 has 8 bits, a relative step of 1/256; a few layers add up to a few of them.
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 8 / 256


@pytest.mark.parametrize("name", ["wide_resnet", "small_cnn"])
def test_only_training_looks_at_the_rest_of_the_batch(name):
    model, variables = make_variables(name)
    image = make_images(12)

    def logits(train):
        apply = jax.jit(
            lambda x: model.apply(variables, x, train=train, mutable=["batch_stats"])[0]
        )
        together = apply(image)
        # The same first four images among eight others.
        others = apply(np.concatenate([image[:4], 1 - image[4:] ** 2]))
        return together[:4], others[:4]

    np.testing.assert_allclose(*logits(train=False), rtol=1e-4, atol=1e-5)
    together, others = logits(train=True)
    assert np.abs(together - others).max() > 1e-2


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("wide_resnet", ["Conv_0"], ["Block_2", "BatchNorm_0"]),
        ("resnet18", ["Conv_0", "BatchNorm_0"], ["Block_7"]),
        ("small_cnn", ["Conv_0", "BatchNorm_0"], ["Conv_3", "BatchNorm_3"]),
        ("mlp", ["Dense_0"], ["Dense_1"]),
        ("vit", ["Embedding_0"], ["EncoderBlock_11", "LayerNorm_0"]),
    ],
)
def test_layers_come_in_the_order_of_the_network(name, first, last):
    groups = models.layer_groups(make_model(name), (16, 16, 3))
    assert (groups[0], groups[-2]) == (first, last)
    assert groups[-1] == ["Dense_2" if name == "mlp" else "Dense_0"]
    count = {"wide_resnet": 5, "resnet18": 10, "small_cnn": 5, "mlp": 3, "vit": 14}
    assert len(groups) == count[name]


def test_sides_that_patches_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"model\.patch: got 4, must divide .* 8 and 6"):
        make_shapes(make_model("vit"), (8, 6, 3))


class Stem(nn.Module):
    """The stem alone, where a classifier has its network."""

    dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        return layers.photograph_stem(x, train, jnp.float32)


def test_photograph_stem_by_hand():
    image = make_images(2, (32, 32, 3))
    variables = {name: {"net": tree} for name, tree in Stem().init(KEY, image).items()}
    net = Reference(variables, train=False)
    expected = max_pool(relu(net.norm(net.conv(image, 2))))
    found = Stem().apply({name: tree["net"] for name, tree in variables.items()}, image)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_resnet18_takes_the_photograph_stem():
    config = make_config("resnet18")
    config.model.photograph_stem = True
    spec = InputSpec("image", (64, 64, 3), "float32", 0, 1)
    model = models.create(config, num_classes=1000, spec=spec, mean=MEAN, std=STD)
    params, _ = models.shapes(model, (64, 64, 3))
    # torchvision's resnet18, documented with its weights.
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 11_689_512


def test_a_network_whose_head_is_not_known_has_no_factors():
    model = make_model("mlp").clone(net=Stem())
    with pytest.raises(ValueError, match=r"optimizer\.backbone_scale, .* Stem ends in 'Conv_0'"):
        models.layer_groups(model, (16, 16, 3))


def test_frozen_batch_norm_keeps_its_statistics_in_training():
    model, variables = make_variables("small_cnn")
    frozen = model.clone(freeze_batch_norm=True)
    image = make_images(4)
    logits, updated = frozen.apply(variables, image, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(logits, model.apply(variables, image))
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])


def test_init_is_he_normal_and_follows_the_key():
    model = make_model("small_cnn", width=32)
    params, batch_stats = models.init(model, jax.random.key(0), (8, 8, 3))
    for layer, fan_in, channels in (("Conv_1", 32, 64), ("Conv_2", 64, 64)):
        kernel = params["net"][layer]["kernel"]
        assert kernel.shape == (3, 3, fan_in, channels)
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * channels)), rtol=0.02)
    np.testing.assert_array_equal(params["net"]["Dense_0"]["bias"], np.zeros(10))
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch_stats):
        np.testing.assert_array_equal(leaf, np.full(leaf.shape, float(path[-1].key == "var")))
    same, _ = models.init(model, jax.random.key(0), (8, 8, 3))
    jax.tree.map(np.testing.assert_array_equal, same, params)
    other, _ = models.init(model, jax.random.key(1), (8, 8, 3))
    assert np.abs(other["net"]["Conv_0"]["kernel"] - params["net"]["Conv_0"]["kernel"]).min() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "vgg"}, r"model\.name: got 'vgg', expected one of: wide_resnet, resnet18"),
        (
            {"name": "mlp", "dtype": "float16"},
            r"dtype: got 'float16', expected one of: float32",
        ),
        ({"name": "wide_resnet", "depth": 27}, r"model\.depth: got 27"),
        ({"name": "wide_resnet", "depth": 4}, r"model\.depth: got 4, must be 6n \+ 4"),
        ({"name": "small_cnn", "width": 0}, r"model\.width: got 0"),
        ({"name": "small_cnn", "kind": "features"}, r"accepts inputs of kind image, audio; got"),
        ({"name": "vit", "kind": "audio"}, r"accepts inputs of kind image; got 'audio'"),
        ({"name": "mlp", "std": (0.2, 0.0, 0.2)}, r"std: got \(0\.2, 0\.0"),
    ],
)
def test_error_names_the_field_and_what_would_do(settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings)


forward = jax.jit(features.forward, static_argnums=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DEEP])
def test_features_by_hand(name):
    shape = (16, 16, 3)  # the last layer of ResNet-18 still has four positions
    model, variables = make_variables(name, shape=shape)
    image = make_images(3, shape)
    logits, found = forward(model, variables, image)
    net = Reference(variables, train=False)
    expected = FORWARD[name](net, (image.astype(np.float64) - np.array(MEAN)) / np.array(STD))
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(found.penultimate, net.penultimate, rtol=2e-3, atol=1e-3)
    assert len(found.stages) == len(net.stages)
    for stage, by_hand in zip(found.stages, net.stages, strict=True):
        np.testing.assert_allclose(stage, by_hand, rtol=2e-3, atol=1e-3)
    if name in WITHOUT_BATCH_NORM:
        assert found.drift is None
    else:
        drift = np.mean(net.drift, axis=0).T  # over layers; [B, 2]
        np.testing.assert_allclose(found.drift, drift, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["small_cnn", "mlp"])
def test_logits_are_the_same_with_features(name):
    for dtype in ("float32", "bfloat16"):
        model, variables = make_variables(name, dtype=dtype)
        image = make_images(8)
        logits, _ = forward(model, variables, image)
        np.testing.assert_array_equal(logits, jax.jit(model.apply)(variables, image))


def test_features_of_a_bfloat16_network_are_float32_and_close():
    model, variables = make_variables("small_cnn")
    exact = forward(model, variables, make_images(8))[1]
    rounded = forward(make_model("small_cnn", dtype="bfloat16"), variables, make_images(8))[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(rounded.drift, exact.drift, atol=0.05)


def test_resnet50_records_four_stages_and_its_drift():
    shape = (32, 32, 3)
    model = make_model("resnet50")
    params, batch_stats = make_shapes(model, shape)
    image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    variables = {"params": params, "batch_stats": batch_stats}
    _, found = jax.eval_shape(lambda v, x: features.forward(model, v, x), variables, image)
    assert [stage.shape[1] for stage in found.stages] == [256, 512, 1024, 2048]
    assert (found.penultimate.shape, found.drift.shape) == ((2, 2048), (2, 2))


def test_drift_of_a_constant_image_is_finite():
    model, variables = make_variables("small_cnn")
    drift = forward(model, variables, np.zeros((2, 8, 8, 3), np.float32))[1].drift
    assert np.isfinite(drift).all()


class Plain(nn.Module):
    """Has batch norm without positions, and records nothing else."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(3)(layers.batch_norm(train, jnp.float32)(x))


def test_a_network_that_records_nothing_has_no_features():
    model, x = Plain(), make_images(4, (5,))
    variables = model.init(jax.random.key(0), x)
    logits, found = features.forward(model, variables, x)
    np.testing.assert_array_equal(logits, model.apply(variables, x))
    assert (found.stages, found.penultimate, found.drift) == ((), None, None)
