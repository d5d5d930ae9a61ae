"""Defines two small networks for texts, tokens [B, L], with words embedded from scratch.

They also take mixtures of two texts, float32 [B, L, 3], from mixup: the tokens of both, and the
share γ of the second. Embeddings are mixed at each place, as in Guo et al. (2019), "Augmenting Data
with Mixup for Sentence Classification", and padding counts with weight 0.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.datasets import texts
from autolabel_jax.models.layers import PENULTIMATE, STAGE, record
from autolabel_jax.models.vit import EPSILON, HEAD, EncoderBlock
from autolabel_jax.registry import setting

BLOCKS = 2  # of the transformer
LEAST_WEIGHT = 1e-9  # keeps logarithms and quotients finite where there is only padding


class WordEmbedding(nn.Module):
    """Embeds words, and mixes the embeddings of two texts.

    Attributes:
      vocabulary: number of tokens; larger ones count as unknown words.
      width: number of channels.
      scale: standard deviation of the initial embeddings.
      dtype: type of activations.
    """

    vocabulary: int
    width: int
    scale: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns embeddings [B, L, width], and weights [B, L]: 0 for padding, 1 for words."""
        init = nn.initializers.normal(self.scale)
        table = nn.Embed(self.vocabulary, self.width, embedding_init=init, dtype=self.dtype)

        def look_up(tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
            known = jnp.where(tokens < self.vocabulary, tokens, texts.UNKNOWN).astype(jnp.int32)
            weight = (tokens > texts.PADDING).astype(self.dtype)
            return table(known) * weight[..., None], weight

        if x.ndim == 2:
            return look_up(x)
        share = x[..., 2].astype(self.dtype)
        (one, weight), (other, other_weight) = look_up(x[..., 0]), look_up(x[..., 1])
        weight = (1 - share) * weight + share * other_weight
        mixed = (1 - share)[..., None] * one + share[..., None] * other
        return mixed / jnp.maximum(weight, LEAST_WEIGHT)[..., None], weight


def mean_of_words(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Returns the weighted mean over places, [B, C], of x [B, L, C] with weights [B, L]."""
    total = jnp.maximum(weight.sum(1, keepdims=True), LEAST_WEIGHT)
    return jnp.einsum("blc,bl->bc", x, weight / total)


class TextMean(nn.Module):
    """Applies a hidden layer with ReLU to the mean of the embeddings.

    Attributes:
      num_classes: number of classes K.
      vocabulary: number of tokens.
      width: number of channels of the embeddings, and of units of the hidden layer.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)

    num_classes: int
    vocabulary: int
    width: int = setting(128, "channels of embeddings and hidden units", low=1, high=65536)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of tokens [B, L], or of mixtures [B, L, 3]."""
        del train
        x, weight = WordEmbedding(self.vocabulary, self.width, 0.1, self.dtype)(x)
        x = record(self, STAGE, mean_of_words(x, weight))
        x = record(self, PENULTIMATE, nn.relu(nn.Dense(self.width, dtype=self.dtype)(x)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)


class TextTransformer(nn.Module):
    """Has two blocks of attention and a perceptron, with learned positions, and mean pooling.

    Attributes:
      num_classes: number of classes K.
      vocabulary: number of tokens.
      width: number of channels, a multiple of 64.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)

    num_classes: int
    vocabulary: int
    width: int = setting(128, "channels of text_transformer, a multiple of 64", low=1, high=4096)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of tokens [B, L], or of mixtures [B, L, 3]."""
        del train
        if self.width % HEAD:
            raise ValueError(f"model.width: got {self.width}, must be a multiple of {HEAD}")
        x, weight = WordEmbedding(self.vocabulary, self.width, 0.02, self.dtype)(x)
        init = nn.initializers.truncated_normal(0.02)
        positions = self.param("positions", init, (x.shape[1], self.width))
        x = x + positions.astype(self.dtype)
        # A place is attended to by its weight: padding not at all.
        bias = jnp.log(jnp.maximum(weight, LEAST_WEIGHT))[:, None, None, :]
        for _ in range(BLOCKS):
            x = EncoderBlock(self.dtype)(x, bias)
            record(self, STAGE, mean_of_words(x, weight))
        x = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype)(x)
        x = record(self, PENULTIMATE, mean_of_words(x, weight))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
