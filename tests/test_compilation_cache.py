"""What a start compiles is there for the next one, in the folder that was asked for."""

import os
import pathlib
import subprocess
import sys
import time

import helpers
import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from autolabel_jax import train
from experiments import compilation_cache

COMMAND = ("-m", "experiments.train", *helpers.flags(epochs=1))


def start(workdir, *arguments, **environment):
    """One run in a process of its own; the test run's own cache is not named to it."""
    variables = helpers.environment() | {k: str(v) for k, v in environment.items()}
    variables = {k: v for k, v in variables.items() if v}
    command = [sys.executable, *COMMAND, f"--workdir={workdir}", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=helpers.ROOT, env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


def programs(folder):
    """Names of the compiled programs below a folder; beside each is the time of its last use."""
    return {path.name for path in pathlib.Path(folder).rglob("*-cache")}


@pytest.mark.slow
def test_the_default_is_the_users_cache_folder_and_a_second_start_adds_nothing(tmp_path):
    home = tmp_path / "cache"
    own = {"XDG_CACHE_HOME": home, "JAX_COMPILATION_CACHE_DIR": ""}
    start(tmp_path / "a", **own)
    (folder,) = (home / "autolabel_jax").iterdir()
    assert folder.name.startswith(f"xla-{os.uname().machine}-")
    first = programs(home)
    assert any("train_steps" in name for name in first)
    # Another seed is other numbers in the same programs.
    start(tmp_path / "b", "--config.seed=1", **own)
    assert programs(home) == first


def test_another_seed_compiles_nothing(tmp_path):
    """In one process, with the cache of the test run."""
    train.train(helpers.small_config(epochs=1), tmp_path / "a", progress=False)
    missed = []

    def listen(event, **_):
        if event == "/jax/compilation_cache/cache_misses":
            missed.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        train.train(helpers.small_config(epochs=1, seed=1), tmp_path / "b", progress=False)
        assert missed == []
        new = time.time()  # a program that nobody has compiled before
        jax.jit(lambda x: x * new)(np.float32(1))
        assert len(missed) == 1
    finally:
        jax.monitoring.unregister_event_listener(listen)


@pytest.fixture
def configured():
    """What enable() sets, which is undone."""
    names = ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
    before = {name: getattr(jax.config, name) for name in names}
    with flagsaver.flagsaver():
        flags.FLAGS.mark_as_parsed()
        yield lambda: [getattr(jax.config, name) for name in names]
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_flag_goes_before_the_environment_and_none_keeps_nothing(configured, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/home")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/variable")
    compilation_cache.enable()
    assert configured() == [True, "/variable"]
    with flagsaver.flagsaver(compilation_cache_dir="/flag"):
        compilation_cache.enable()
    assert configured() == [True, "/flag"]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    compilation_cache.enable()
    assert configured()[1].startswith("/home/autolabel_jax/xla-")
    with flagsaver.flagsaver(compilation_cache_dir="none"):
        compilation_cache.enable()
    assert configured()[0] is False


@pytest.mark.slow
def test_a_start_heeds_the_flag_before_the_environment(tmp_path):
    flag, variable = tmp_path / "flag", tmp_path / "variable"
    named = {"JAX_COMPILATION_CACHE_DIR": variable, "XDG_CACHE_HOME": tmp_path / "home"}
    start(tmp_path / "a", f"--compilation_cache_dir={flag}", **named)
    assert programs(flag)
    assert not variable.exists()
    start(tmp_path / "b", "--compilation_cache_dir=none", **named)
    assert not variable.exists()
    assert not (tmp_path / "home").exists()
