"""Places edges of buckets, and maps distances to the indices of their buckets.

A bucket is a group (the discrete part of a distance) and an interval of its
value. Intervals are open below and closed above, (e_m, e_{m+1}], and the
first one contains its lower edge too, as in mixup's bucket ⌈2N·min(γ, 1-γ)⌉.
"""

import jax
import jax.numpy as jnp
import numpy as np

from autolabel_jax.types import Array, Distance

EDGES = ("equal_width", "equal_mass", "kmeans")


def make_edges(kind: str, num: int, drawn: np.ndarray | None = None) -> np.ndarray:
    """Places the edges of ``num`` intervals that cover [0, 1].

    Args:
      kind: 'equal_width', 'equal_mass' (each interval contains equally many of the
        drawn distances) or 'kmeans' (one-dimensional k-means on the drawn distances,
        with edges half-way between neighbouring centres).
      num: number of intervals.
      drawn: distances drawn as in training, float [D], in [0, 1]; 'equal_width' does
        not need them.

    Returns:
      float32 [num + 1], strictly increasing from 0 to 1.

    Raises:
      ValueError: the kind is unknown, num < 1, or the drawn distances have too few
        different values for ``num`` intervals.
    """
    if kind not in EDGES:
        raise ValueError(f"buckets.edges: got {kind!r}, expected one of: {', '.join(EDGES)}")
    if num < 1:
        raise ValueError(f"buckets.num: got {num}, must be at least 1")
    if kind == "equal_width" or num == 1:
        return np.linspace(0, 1, num + 1, dtype=np.float32)
    drawn = np.asarray([] if drawn is None else drawn, np.float64).reshape(-1)
    different = len(np.unique(drawn))
    if different >= num:
        quantiles = np.quantile(drawn, np.linspace(0, 1, num + 1))
        if kind == "equal_mass":
            inner = quantiles[1:-1]
        else:
            from sklearn.cluster import KMeans  # slow to import

            middles = np.quantile(drawn, (np.arange(num) + 0.5) / num)
            start = np.unique(middles) if len(np.unique(middles)) == num else None
            start = np.linspace(np.min(drawn), np.max(drawn), num) if start is None else start
            fit = KMeans(num, init=start[:, None], n_init=1).fit(drawn[:, None])
            centres = np.sort(fit.cluster_centers_[:, 0])
            inner = (centres[1:] + centres[:-1]) / 2
        edges = np.concatenate([[0.0], inner, [1.0]]).astype(np.float32)
        if np.all(np.diff(edges) > 0):
            return edges
    raise ValueError(
        f"buckets.num: got {num} with buckets.edges={kind!r}, but the drawn distances "
        f"({different} different values) do not fill {num} intervals; use fewer "
        "buckets or buckets.edges='equal_width'"
    )


def bucket_index(distance: Distance | Array, edges: Array) -> jax.Array:
    """Returns the bucket of each distance.

    Args:
      distance: group [B] and value [B], or only the values if there is one group;
        values outside [0, 1] belong to the first and the last interval.
      edges: float32 [M + 1].

    Returns:
      int32 [B], group · M + interval, in [0, G · M).
    """
    if isinstance(distance, Distance):
        interval = bucket_index(distance.value, edges)
        return jnp.asarray(distance.group) * (edges.shape[0] - 1) + interval
    return jnp.searchsorted(jnp.asarray(edges)[1:-1], distance, side="left").astype(jnp.int32)


def draw_inside(key: jax.Array, bucket: jax.Array, edges: Array) -> Distance:
    """Draws distances uniformly inside given buckets, for held-out inputs.

    Args:
      key: typed PRNG key.
      bucket: int32 [B].
      edges: float32 [M + 1].

    Returns:
      Distance [B] with value in (e_m, e_{m+1}].
    """
    num, on_device = edges.shape[0] - 1, jnp.asarray(edges)
    group, interval = bucket // num, bucket % num
    low, high = on_device[interval], on_device[interval + 1]
    value = high - (high - low) * jax.random.uniform(key, bucket.shape)
    # Rounding can move a value to the lower edge, which belongs to the bucket below.
    value = jnp.clip(value, jnp.nextafter(low, high), high)
    return Distance(group=group.astype(jnp.int32), value=value)


def middles(edges: np.ndarray, num_groups: int) -> Distance:
    """Returns the middle of every bucket as Distance [G · M] of NumPy arrays."""
    num = len(edges) - 1
    group, interval = np.divmod(np.arange(num_groups * num, dtype=np.int32), num)
    value = (edges[:-1] + edges[1:]) / 2
    return Distance(group=group, value=value[interval].astype(np.float32))
