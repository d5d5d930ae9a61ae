"""Sweeps in several processes, by Ray; most are skipped where it is not installed."""

import os
import signal
import subprocess
import sys
import time

import helpers
import pytest

from autolabel_jax import files
from experiments.sweeping import ray_workers

pytestmark = pytest.mark.xdist_group("sweeps")


@pytest.fixture
def ray():
    return pytest.importorskip("ray", reason="Ray is not installed")


def arguments(workdir, *others) -> tuple[str, ...]:
    return ("-m", "experiments.sweep", *helpers.flags(), f"--workdir={workdir}", *others)


def results(folder) -> dict:
    found = {path.parent.name: files.read_json(path) for path in folder.glob("*/result.json")}
    other = (*helpers.TIMES, "revision")  # an edited file makes it another
    return {n: {k: v for k, v in r.items() if k not in other} for n, r in found.items()}


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="--processes.*pip install -r requirements-sweep.txt"):
        ray_workers.execute(None, {}, None, None, 2)


@pytest.mark.usefixtures("ray")
def test_two_processes_give_the_bits_of_one(tmp_path):
    axes = "--axes=labels.rule=autolabel,none;seed=3,4"
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        done = helpers.command(*arguments(folder, axes, f"--processes={processes}"))
        assert done.returncode == 1, done.stderr
        assert "2 of 4 runs done, 2 failed" in done.stdout
        assert "failed: labels.rule=none,seed=3: labels.rule: got 'none'" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
    one, two = tmp_path / "1", tmp_path / "2"
    assert len(results(one)) == 2 and results(one) == results(two)
    for name in results(one):
        assert helpers.read_metrics(one / name) == helpers.read_metrics(two / name)
        same = (helpers.last_checkpoint(folder / name) for folder in (one, two))
        helpers.assert_same_bits(*same)


def processes_of(session: int) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "sid=,args="], capture_output=True, text=True).stdout
    lines = [line for line in listed.splitlines() if line.split()[0] == str(session)]
    return [line for line in lines if not line.endswith("<defunct>")]


def wait_for(condition, seconds=150):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_sweep_leaves_no_process_behind(tmp_path, number):
    long = (f"--config.epochs={10**6}", "--config.checkpoint.every_epochs=1000000")
    process = subprocess.Popen(
        [sys.executable, *arguments(tmp_path, "--axes=seed=0,1", "--processes=2", *long)],
        cwd=helpers.ROOT,
        env=helpers.environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: len([*tmp_path.glob("seed=*/metrics.jsonl")]) == 2)
    assert any("ray::" in line for line in processes_of(process.pid))
    os.kill(process.pid, number)
    assert process.wait() == (-number if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: not processes_of(process.pid), seconds=15)
    saved = [*tmp_path.glob("seed=*/checkpoints/[0-9]*")]
    assert len(saved) == (0 if number == signal.SIGKILL else 2)


def test_a_cluster_of_two_nodes(ray, tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # as in a local sweep
    # One core a node, and a worker needs one: two workers are on two nodes.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        done = helpers.command(
            *arguments(tmp_path, "--axes=labels.rule=one_hot,none;seed=0,1"),
            f"--ray={cluster.address}",
        )
    finally:
        cluster.shutdown()
    assert done.returncode == 1, done.stderr
    assert "2 of 4 runs done, 2 failed" in done.stdout
    for seed in (0, 1):
        lines = helpers.read_metrics(tmp_path / f"labels.rule=one_hot,seed={seed}")
        assert [line["epoch"] for line in lines] == [0, 1]


# --- resources -------------------------------------------------------------------------------


def test_resources_by_hand(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    gpus = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 2.0}]
    whole, third = {"num_gpus": 1, "num_cpus": 0}, {"num_gpus": 1 / 3, "num_cpus": 0}
    assert ray_workers.resources(gpus, None, cores=2) == (whole, 4)
    assert ray_workers.resources(gpus, 3, cores=2) == (whole, 3)
    assert ray_workers.resources(gpus, 10, cores=2) == (third, 10)
    cpus = [{"CPU": 5.0}, {"CPU": 1.0}, {}]
    assert ray_workers.resources(cpus, None, cores=2) == ({"num_cpus": 2}, 2)
    assert ray_workers.resources(cpus, 7, cores=2) == ({"num_cpus": 2}, 2)
    assert ray_workers.resources([{"CPU": 3.0}], 3, cores=1) == ({"num_cpus": 1}, 3)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert ray_workers.resources(gpus, None, cores=2) == ({"num_cpus": 2}, 8)


def test_variables_of_a_worker(monkeypatch):
    for name in ("OMP_NUM_THREADS", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NPROC", "3")
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_mine")
    found = ray_workers.environment({"num_gpus": 1 / 3, "num_cpus": 0}, threads=8)
    assert found["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.300"
    assert found["XLA_FLAGS"] == "--xla_of_mine"
    assert (found["NPROC"], found["OMP_NUM_THREADS"]) == ("3", "8")
    assert found["PYTHONPATH"] == "/mine"
    monkeypatch.delenv("NPROC")
    found = ray_workers.environment({"num_gpus": 1, "num_cpus": 0}, threads=0)
    assert not {"XLA_PYTHON_CLIENT_MEM_FRACTION", "NPROC", "OMP_NUM_THREADS"} & found.keys()
