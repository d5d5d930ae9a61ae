"""Keeps compiled programs on disk, so that the next start does not compile them again."""

import hashlib
import os
import pathlib
import platform

import jax
from absl import flags

NOWHERE = "none"

_FOLDER = flags.DEFINE_string(
    "compilation_cache_dir",
    None,
    "Folder that keeps compiled programs between starts ('none' = keep none). "
    "Default: $JAX_COMPILATION_CACHE_DIR, or autolabel_jax in the user's cache folder.",
)


def enable() -> None:
    """Enables JAX's persistent cache in the folder that the flag or the environment sets.

    Every program is kept, however fast it compiled: a start compiles hundreds of small ones.
    Call this after flags are parsed and before the first computation.
    """
    folder = _FOLDER.value or os.environ.get("JAX_COMPILATION_CACHE_DIR") or default_folder()
    if folder == NOWHERE:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def default_folder() -> pathlib.Path:
    """Returns ~/.cache/autolabel_jax/… (or $XDG_CACHE_HOME), with a folder per kind of processor.

    XLA compiles for the processor at hand, and several machines may share a home folder.
    """
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(home).expanduser() / "autolabel_jax" / f"xla-{_processor()}"


def _processor() -> str:
    """Returns the architecture and a digest of the processor's features."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    features = [line for line in lines if line.split(":")[0].strip() in ("flags", "Features")]
    text = (features or lines)[0]
    return f"{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
