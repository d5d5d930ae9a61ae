"""Finds the images of a folder that cannot be decoded; keeps the answer until a file changes."""

import contextlib
import hashlib
import os
import pathlib
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
import PIL

from autolabel_jax import files, processes, progress
from autolabel_jax.datasets import photographs

CACHE = "autolabel_jax_cache"
MOST_THREADS = 32  # that decode at the same time
SILENT_SECONDS = 5  # before a progress bar is shown


def find(root: pathlib.Path, names: list[str]) -> tuple[dict[str, str], int]:
    """Decodes every image once, unless a cache says what was found.

    Args:
      root: folder of the images; the cache lies in it, unless it cannot be written.
      names: paths of the images in the folder.

    Returns:
      The reason for each image that cannot be decoded, and the number of images that are turned by
      their EXIF orientation.
    """
    path, made_from = root / CACHE / "folder.json", _fingerprint(root, names)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # missing or damaged
        kept = files.read_json(path)
        if kept["made_from"] == made_from:
            return dict(kept["unreadable"]), int(kept["turned"])
    unreadable, turned = _decode(root, names)
    found: dict[str, Any] = {"unreadable": unreadable, "turned": turned}
    with contextlib.suppress(OSError):  # the folder may be read-only
        path.parent.mkdir(exist_ok=True)
        files.write_json(path, {"made_from": made_from, **found})
    return unreadable, turned


def _decode(root: pathlib.Path, names: list[str]) -> tuple[dict[str, str], int]:
    def check(name: str) -> bool | str:
        try:
            return photographs.check(os.path.join(root, name))
        except Exception as error:  # decoders of damaged files raise many types
            return photographs.reason(error)

    threads = min(MOST_THREADS, os.cpu_count() or 1)
    with ThreadPool(threads) as pool:
        found = list(
            progress.each(
                pool.imap(check, names, chunksize=16),
                "checking images",
                len(names),
                "image",
                delay=SILENT_SECONDS,
                shown=processes.is_first(),
            )
        )
    unreadable = {n: why for n, why in zip(names, found, strict=True) if isinstance(why, str)}
    return unreadable, sum(turned is True for turned in found)


def _fingerprint(root: pathlib.Path, names: list[str]) -> str:
    """SHA-256 of names, sizes and times of the files, and of the version of the decoder."""
    stats = [os.stat(os.path.join(root, name)) for name in names]
    digest = hashlib.sha256("\0".join([PIL.__version__, *names]).encode(errors="surrogateescape"))
    digest.update(np.array([[s.st_size, s.st_mtime_ns] for s in stats], "<i8").tobytes())
    return digest.hexdigest()
