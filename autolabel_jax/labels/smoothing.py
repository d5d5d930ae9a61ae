"""Implements label smoothing, which is the same at every distance (Szegedy et al. 2016, sec. 7)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax

from autolabel_jax.labels import one_hot
from autolabel_jax.registry import setting


@dataclasses.dataclass(frozen=True)
class Smoothing(one_hot.OneHot):
    """Gives (1 - smoothing) · own label + smoothing / K."""

    title: ClassVar[str] = "smoothing"
    in_name: ClassVar[tuple[str, ...]] = ("smoothing",)
    sweep: ClassVar[tuple[Mapping[str, Any], ...]] = ({"smoothing": 0.05}, {"smoothing": 0.1})

    smoothing: float = setting(0.1, "share of the uniform distribution", low=0, high=1)

    @classmethod
    def row_name(cls, settings: Mapping[str, Any]) -> str:
        """Returns a name such as 'smoothing .05'."""
        if "smoothing" not in settings:
            return cls.title
        share = f"{settings['smoothing']:g}".removeprefix("0") or "0"
        return f"{cls.title} {share}"

    def soft_labels(
        self, state: Any, label: jax.Array, bucket: jax.Array, **example: Any
    ) -> jax.Array:
        """Smooths the augmentation's own labels; arguments are those of ``OneHot.soft_labels``."""
        own = super().soft_labels(state, label, bucket, **example)
        return (1 - self.smoothing) * own + self.smoothing / own.shape[-1]
