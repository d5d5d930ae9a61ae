"""Averages the logits of several views of each image, before any calibration.

A view is the image, its mirror image, or the image moved a little by one of the project's own
augmentations. The mean is computed in one forward program, which takes the place of the model:
calibrators, corruptions and attacks see a model whose logits are the mean.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from autolabel_jax.augment import AugMix, RandAugment
from autolabel_jax.augment.operations import Chained
from autolabel_jax.datasets import InputSpec
from autolabel_jax.models import layers
from autolabel_jax.types import Batch, Distance

MIRROR = "mirror"
MOVES = {method.title: method for method in (AugMix, RandAugment)}
EPSILON = 1e-4  # added to the disagreement before its logarithm

View = Callable[[jax.Array], jax.Array]  # float32 images [B, H, W, C] in [0, 1] → the same


def mirror(image: jax.Array) -> jax.Array:
    """Returns the mirror images, left and right exchanged."""
    return jnp.flip(image, axis=2)


@dataclasses.dataclass(frozen=True)
class Moved:
    """Moves each image by a fixed distance, with one operation.

    Random numbers depend on the pixels of the image alone, so that its view is the same in every
    batch. Images are rounded to 8 bits first, as the operations need.
    """

    method: Chained
    distance: float

    def __call__(self, image: jax.Array) -> jax.Array:
        """Moves images float32 [B, H, W, C] in [0, 1]."""
        pixels = jnp.round(image * 255).astype(jnp.uint8)
        return jax.vmap(self._one)(pixels)

    def _one(self, pixels: jax.Array) -> jax.Array:
        place = jnp.arange(1, pixels.size + 1, dtype=jnp.uint32)  # overflow wraps around
        seed = jnp.sum(pixels.reshape(-1).astype(jnp.uint32) * place * place)
        zero = jnp.zeros((1,), jnp.int32)
        batch = Batch(pixels[None], zero, zero, jnp.ones((1,)), jnp.zeros((1,)))
        distance = Distance(group=zero, value=jnp.full((1,), self.distance))
        return self.method.apply(jax.random.key(seed), batch, distance).input[0]


@dataclasses.dataclass(frozen=True)
class ViewedModel:
    """A model whose logits are the mean over the image and further views of it.

    It has the ``apply`` of a Flax module, in inference mode. Recorded features are those of the
    image itself; ``layers.DISAGREEMENT`` is recorded beside them.

    Attributes:
      model: the model of one image.
      names: names of the views besides the image itself, such as ('mirror',).
      views: these views.
    """

    model: nn.Module
    names: tuple[str, ...]
    views: tuple[View, ...]

    def apply(
        self, variables: dict[str, Any], image: jax.Array, *, train: bool, mutable: Any = False
    ) -> Any:
        """Returns logits [B, K], or (logits, recorded) with ``mutable``; see ``nn.Module.apply``.

        Args:
          variables: variables of the model.
          image: float32 [B, H, W, C] in [0, 1].
          train: False.
          mutable: collections to record, as for a Flax module.
        """
        first = self.model.apply(variables, image, train=train, mutable=mutable)
        own, recorded = first if mutable else (first, {})
        moved = (view(image) for view in self.views)
        others = (self.model.apply(variables, x, train=train) for x in moved)
        logits = jnp.stack([cast("jax.Array", found) for found in (own, *others)])
        mean = logits.mean(0)
        if not mutable:
            return mean
        features = {**recorded.get(layers.FEATURES, {})}
        features[layers.DISAGREEMENT] = (disagreement(logits),)
        return mean, {**recorded, layers.FEATURES: features}


def disagreement(logits: jax.Array) -> jax.Array:
    """Returns log(JS + 1e-4), JS the Jensen-Shannon divergence of the views' predictions in nats.

    JS is the entropy of the mean prediction less the mean of the entropies, in [0, log(views)].

    Args:
      logits: float32 [V, B, K].

    Returns:
      float32 [B].
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    log_mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(len(logits))
    divergence = jnp.sum(jnp.exp(log_p) * (log_p - log_mean), axis=-1).mean(0)
    return jnp.log(jnp.maximum(divergence, 0) + EPSILON)


def check(names: Sequence[str], *, attacked: bool = False) -> None:
    """Checks the names of views, before any data are read.

    Args:
      names: as in ``average``.
      attacked: whether the mean is to be attacked, which needs its gradient.

    Raises:
      ValueError: a name is unknown or repeated, or a view has no gradient.
    """
    made = [_view(name) for name in names]
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        raise ValueError(f"--views: got {repeated[0]!r} twice; name each view once")
    flat = [name for name, view in zip(names, made, strict=True) if isinstance(view, Moved)]
    if attacked and flat:
        raise ValueError(
            f"--views: got {flat[0]!r} with --attacks, but its operations round pixels and have no "
            f"gradient; attack the mean over {MIRROR!r} alone"
        )


def average(model: nn.Module, names: Sequence[str], spec: InputSpec) -> ViewedModel:
    """Makes the model that averages views.

    Args:
      model: model of one image.
      names: 'mirror', or an augmentation with its distance such as 'augmix@0.2'.
      spec: describes the inputs of the data set.

    Raises:
      ValueError: a name is unknown, or the inputs have no such view.
    """
    if spec.kind != "image":
        raise ValueError(
            f"--views: got {','.join(names)} for inputs of kind {spec.kind!r}; only images have "
            "views"
        )
    check(names)
    made = tuple(_view(name) for name in names)
    for view in made:
        if isinstance(view, Moved):
            view.method.check_input(spec)
    return ViewedModel(model, tuple(names), made)


def _view(name: str) -> View:
    if name == MIRROR:
        return mirror
    method, _, distance = name.partition("@")
    try:
        value = float(distance)
    except ValueError:
        value = -1.0
    if method not in MOVES or not 0 < value <= 1:
        known = ", ".join([MIRROR, *(f"{move}@DISTANCE" for move in MOVES)])
        raise ValueError(
            f"--views: got {name!r}, expected some of: {known}, with a distance in (0, 1]"
        )
    return Moved(MOVES[method](), value)
