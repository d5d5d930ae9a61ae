"""Defines the vision transformer.

Dosovitskiy et al. (2021), "An Image is Worth 16x16 Words", in the layout of timm: a class token,
learned positions, and layer norm before attention and before the perceptron of each block.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from autolabel_jax.models.layers import PENULTIMATE, STAGE, record
from autolabel_jax.registry import setting

SIZES = {"tiny": 3, "small": 6, "base": 12}  # number of heads, of HEAD channels each
HEAD = 64
DEPTH = 12
EPSILON = 1e-6  # of layer norm


class Embedding(nn.Module):
    """Embeds the patches of images, puts a class token before them, and adds positions."""

    patch: int
    channels: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes tokens [B, 1 + patches, channels]."""
        size = (self.patch, self.patch)
        x = nn.Conv(self.channels, size, strides=size, padding="VALID", dtype=self.dtype)(x)
        x = x.reshape(x.shape[0], -1, self.channels)
        init = nn.initializers.truncated_normal(0.02)
        token = self.param("cls_token", init, (1, 1, self.channels))
        positions = self.param("pos_embed", init, (1, 1 + x.shape[1], self.channels))
        token = jnp.broadcast_to(token, (x.shape[0], 1, self.channels)).astype(self.dtype)
        return jnp.concatenate([token, x], axis=1) + positions.astype(self.dtype)


class EncoderBlock(nn.Module):
    """Adds self-attention, and then a perceptron, to the tokens."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        """Computes tokens [B, tokens, channels]; ``bias`` is added to the logits of attention."""
        batch, tokens, channels = x.shape

        def dense(width: int) -> nn.Dense:
            init = nn.initializers.truncated_normal(0.02)
            return nn.Dense(width, kernel_init=init, dtype=self.dtype)

        y = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype)(x)
        y = dense(3 * channels)(y).reshape(batch, tokens, 3, channels // HEAD, HEAD)
        y = jax.nn.dot_product_attention(y[:, :, 0], y[:, :, 1], y[:, :, 2], bias)
        x = x + dense(channels)(y.reshape(x.shape))
        y = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype)(x)
        y = nn.gelu(dense(4 * channels)(y), approximate=False)
        return x + dense(channels)(y)


class ViT(nn.Module):
    """Has 12 blocks of 192 (tiny), 384 (small) or 768 (base) channels.

    Attributes:
      num_classes: number of classes K.
      size: 'tiny', 'small' or 'base'.
      patch: side of a patch, pixels; it divides the sides of the images.
      dtype: type of activations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    normalization: ClassVar[str] = "half"  # of timm's weights

    num_classes: int
    size: str = setting("tiny", "vit: 'tiny', 'small' or 'base'", choices=tuple(SIZES))
    patch: int = setting(16, "vit: side of a patch, pixels", low=1, high=256)
    dtype: Any = jnp.float32

    @staticmethod
    def torch_names() -> dict[str, str]:
        """Maps layers to their names in timm."""
        names = {
            "Embedding_0/cls_token": "cls_token",
            "Embedding_0/pos_embed": "pos_embed",
            "Embedding_0/Conv_0": "patch_embed.proj",
            "LayerNorm_0": "norm",
            "Dense_0": "head",
        }
        own = ("LayerNorm_0", "Dense_0", "Dense_1", "LayerNorm_1", "Dense_2", "Dense_3")
        theirs = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for i in range(DEPTH):
            for name, other in zip(own, theirs, strict=True):
                names[f"EncoderBlock_{i}/{name}"] = f"blocks.{i}.{other}"
        return names

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Computes logits [B, K] of normalised images [B, height, width, channels]."""
        del train
        if x.shape[1] % self.patch or x.shape[2] % self.patch:
            raise ValueError(
                f"model.patch: got {self.patch}, must divide the sides of the images, "
                f"{x.shape[1]} and {x.shape[2]}"
            )
        x = Embedding(self.patch, HEAD * SIZES[self.size], self.dtype)(x)
        for _ in range(DEPTH):
            x = EncoderBlock(self.dtype)(x)
            record(self, STAGE, x)
        x = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype)(x)[:, 0]
        record(self, PENULTIMATE, x)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
