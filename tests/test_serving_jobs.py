"""Jobs of the service: their checks, their processes, and what survives a restart.

A small script stands in for the command ``autolabel``; ``test_serving_whole.py`` runs the real one.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import serving_clients as clients

from autolabel_jax import files
from autolabel_jax.serving import job_processes
from autolabel_jax.serving import jobs as jobs_lib
from autolabel_jax.serving.uploads import Limits

JOBS = "/v1/jobs"
# Writes labels; before that, waits so many seconds as it has epochs, beside a child, once.
SCRIPT = """
import os, pathlib, subprocess, sys, time
command, given = sys.argv[1], dict(part[2:].split("=", 1) for part in sys.argv[2:])
assert "AUTOLABEL_TOKEN" not in os.environ
run = pathlib.Path(given["run"])
run.mkdir(exist_ok=True)
if command == "label":
    if given.get("config.seed") == "13":
        sys.exit("error: unlucky")
    if not (run / "pids").exists() and "config.epochs" in given:
        child = subprocess.Popen(["sleep", given["config.epochs"]])
        (run / "new").write_text(f"{os.getpid()} {child.pid}")
        (run / "new").rename(run / "pids")
        time.sleep(float(given["config.epochs"]))
    pathlib.Path(given["out"]).write_text("labels of " + given["data"])
else:
    pathlib.Path(given["out"]).mkdir(exist_ok=True)
"""


@pytest.fixture
def root(tmp_path):
    """Folder with a manifest, and things beside it that no job may read."""
    folder = tmp_path / "data"
    (folder / "inner").mkdir(parents=True)
    row = '{"input": [1, 2], "label": "a", "distance": 0.5}\n'
    (folder / "inner" / "good.jsonl").write_text(row)
    (tmp_path / "secret.jsonl").write_text(row)
    (folder / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "inside.jsonl").symlink_to("inner/good.jsonl")
    (folder / "plain.jsonl").write_text('{"input": [1, 2], "label": "a"}\n')
    (folder / "text.jsonl").write_text("no table")
    (tmp_path / "x.png").write_bytes(b"")
    (folder / "y.png").symlink_to(tmp_path / "x.png")
    for name, path in {"up": "../x.png", "absolute": tmp_path / "x.png", "linked": "y.png"}.items():
        (folder / f"{name}.csv").write_text(f"path,label,distance\n{path},a,0.5\n")
    return folder


@pytest.fixture
def service(root, tmp_path):
    """Makes clients of services with the jobs in one folder."""
    (tmp_path / "script.py").write_text(SCRIPT)

    @contextlib.contextmanager
    def opened():
        program = (sys.executable, str(tmp_path / "script.py"))
        jobs = jobs_lib.opened(tmp_path / "jobs", root, program)
        with jobs as found, clients.of(jobs=found) as client:
            yield client

    return opened


def submit(client, manifest="inner/good.jsonl", **config):
    response = client.post(JOBS, json={"manifest": manifest, "config": config})
    assert response.status_code == 202, response.text
    job = response.json()
    assert (job["manifest"], job["config"], job["state"]) == (manifest, config, "queued")
    return job["id"]


def wait(client, job, *states):
    """The job once it has one of these states."""
    for _ in range(2000):
        found = client.get(f"{JOBS}/{job}").json()
        if found["state"] in states:
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def pids(tmp_path, job):
    """Process of a job and its child, once both are there."""
    path = tmp_path / "jobs" / job / "run" / "pids"
    for _ in range(2000):
        if path.exists():
            return [int(pid) for pid in path.read_text().split()]
        time.sleep(0.01)
    raise AssertionError("did not start")


def running(pid):
    """Whether a process runs; a zombie has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(*pids):
    for _ in range(2000):
        if not any(map(running, pids)):
            return True
        time.sleep(0.01)
    return False


def test_a_job_gives_labels_and_a_predictor(service, tmp_path, root, monkeypatch):
    monkeypatch.setenv("AUTOLABEL_TOKEN", "is not for the process of a job")
    with service() as client:
        job = submit(client)
        found = wait(client, job, "finished", "failed")
        assert (found["state"], found["error"]) == ("finished", None)
        assert found["created"] <= found["started"] <= found["ended"]
        labels = client.get(f"{JOBS}/{job}/labels.parquet")
        assert labels.text == f"labels of {root}/inner/good.jsonl"
        assert labels.headers["content-type"] == "application/vnd.apache.parquet"
        assert (tmp_path / "jobs" / job / "predictor").is_dir()
        assert 'autolabel_jobs{state="finished"} 1.0' in client.get("/metrics").text


def test_a_job_that_fails_says_why_and_the_next_one_runs(service):
    with service() as client:
        first, second = submit(client, seed=13), submit(client, "inside.jsonl")
        assert wait(client, first, "finished", "failed")["error"] == "error: unlucky"
        assert client.get(f"{JOBS}/{first}/labels.parquet").status_code == 409
        assert wait(client, second, "finished", "failed")["state"] == "finished"
        assert [job["id"] for job in client.get(JOBS).json()] == [first, second]


def test_a_job_whose_process_is_killed_says_so(service, tmp_path):
    with service() as client:
        job = submit(client, epochs=60)
        own, child = pids(tmp_path, job)
        os.kill(own, signal.SIGKILL)
        assert wait(client, job, "finished", "failed")["error"] == "ended by signal 9"
        assert gone(child)


@pytest.mark.parametrize(
    ("manifest", "status", "message"),
    [
        ("../secret.jsonl", 403, "manifest: '../secret.jsonl' is not below the data root"),
        ("../nothing.jsonl", 403, "manifest: '../nothing.jsonl' is not below the data root"),
        ("/etc/passwd", 403, "manifest: '/etc/passwd' is not below the data root"),
        ("link.jsonl", 403, "manifest: 'link.jsonl' is not below the data root"),
        ("folder/secret.jsonl", 403, "manifest: 'folder/secret.jsonl' is not below"),
        ("up.csv", 403, "manifest: 'up.csv' names an image outside of the data root"),
        ("absolute.csv", 403, "manifest: 'absolute.csv' names an image outside of"),
        ("linked.csv", 403, "manifest: 'linked.csv' names an image outside of the data"),
        ("inner/../../secret.jsonl", 403, "manifest: 'inner/../../secret.jsonl' is not"),
        ("nothing.jsonl", 422, "manifest: 'nothing.jsonl' is no file below the data root"),
        ("inner", 422, "manifest: 'inner' is no file below the data root"),
        (".", 422, "manifest: '.' is no file below the data root"),
        ("plain.jsonl", 422, "manifest: 'plain.jsonl' has no column 'distance'"),
        ("text.jsonl", 422, "data_dir: "),
        ("y.png", 403, "manifest: 'y.png' is not below the data root"),
        ("a\0b", 422, ""),
        ("a" * 5000, 422, ""),
        ("", 422, "manifest: String should have at least 1 character"),
        (1, 422, "manifest: Input should be a valid string"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(manifest, status, message, service):
    with service() as client:
        response = client.post(JOBS, json={"manifest": manifest})
        assert response.status_code == status
        assert response.json()["detail"].startswith(message)
        assert client.get(JOBS).json() == []


@pytest.mark.parametrize(
    "config",
    [
        {"dataset": "os:system"},
        {"dataset=os:system#": 1},
        {"--data": 1},
        {"epochs": None},
        {"epochs": [1]},
        {"epochs": "1"},
        {"": 1},
    ],
)
def test_a_config_holds_numbers_alone(config, service):
    with service() as client:
        given = {"manifest": "inner/good.jsonl", "config": config}
        response = client.post(JOBS, json=given)
        assert response.status_code == 422
        assert response.json()["detail"].startswith("config.")


def test_all_methods_of_a_path_are_named(service):
    with service() as client:
        assert client.put(JOBS).headers["allow"] == "GET, POST"
        assert client.put(f"{JOBS}/{'0' * 32}").headers["allow"] == "DELETE, GET"


@pytest.mark.parametrize("path", ["/x", "/../x", f"/{'0' * 32}", f"/{'0' * 32}/labels.parquet"])
def test_unknown_jobs_are_not_found(path, service):
    with service() as client:
        for method in ("GET", "DELETE"):
            status = client.request(method, f"{JOBS}{path}").status_code
            assert status in ((404, 405) if "0" in path or "." in path else (422,))


def test_delete_ends_a_running_job_and_its_children_and_removes_its_files(service, tmp_path):
    with service() as client:
        first, second = submit(client, epochs=60), submit(client)
        both = pids(tmp_path, first)
        assert all(map(running, both))
        assert client.get(f"{JOBS}/{first}").json()["state"] == "running"
        assert client.get(f"{JOBS}/{second}").json()["state"] == "queued"  # one at a time
        assert client.delete(f"{JOBS}/{first}").status_code == 204
        assert gone(*both)
        assert client.get(f"{JOBS}/{first}").status_code == 404
        assert wait(client, second, "finished", "failed")["state"] == "finished"
        assert client.delete(f"{JOBS}/{second}").status_code == 204
        assert client.delete(f"{JOBS}/{second}").status_code == 404
        assert [path.name for path in (tmp_path / "jobs").iterdir()] == [".lock"]


def test_a_queued_job_that_is_deleted_never_starts(service, tmp_path):
    with service() as client:
        first, second = submit(client, epochs=60), submit(client)
        pids(tmp_path, first)
        assert client.delete(f"{JOBS}/{second}").status_code == 204
        assert client.delete(f"{JOBS}/{first}").status_code == 204
        assert client.get(JOBS).json() == []


def test_jobs_survive_a_restart(service, tmp_path):
    with service() as client:
        done, failed = submit(client), submit(client, seed=13)
        wait(client, failed, "failed")
        interrupted, queued = submit(client, epochs=60), submit(client)
        both = pids(tmp_path, interrupted)
    assert gone(*both)
    state = files.read_json(tmp_path / "jobs" / interrupted / "job.json")["state"]
    assert state == "running"
    with service() as client:
        assert wait(client, interrupted, "finished", "failed")["state"] == "finished"
        assert wait(client, queued, "finished", "failed")["state"] == "finished"
        found = {job["id"]: job["state"] for job in client.get(JOBS).json()}
    assert list(found) == [done, failed, interrupted, queued]
    assert [*found.values()] == ["finished", "failed", "finished", "finished"]


def test_a_process_that_outlived_its_service_is_ended_before_its_job_goes_on(service, tmp_path):
    with service() as client:
        job = submit(client)
        wait(client, job, "finished")
    folder = tmp_path / "jobs" / job
    state = files.read_json(folder / "job.json")
    files.write_json(folder / "job.json", {**state, "state": "running"}, checksum=True)
    with job_processes.handed_on(folder / ".lock") as lock:
        left = subprocess.Popen(["sleep", "60"], start_new_session=True, pass_fds=[lock])
        os.write(lock, str(left.pid).encode())
    (folder / "labels.parquet").unlink()
    with service() as client:
        assert wait(client, job, "finished", "failed")["state"] == "finished"
        assert left.wait(20) == -signal.SIGTERM
        assert client.get(f"{JOBS}/{job}/labels.parquet").status_code == 200


def test_a_manifest_is_checked_again_before_its_job_starts(service, root, tmp_path):
    with service() as client:
        first = submit(client, epochs=60)
        pids(tmp_path, first)
        second = submit(client, "inside.jsonl")
        (root / "inside.jsonl").unlink()
        (root / "inside.jsonl").symlink_to(tmp_path / "secret.jsonl")
        client.delete(f"{JOBS}/{first}")
        found = wait(client, second, "finished", "failed")
    assert found["error"] == "manifest: 'inside.jsonl' is not below the data root"


def test_too_many_waiting_jobs_are_503(service, monkeypatch, tmp_path):
    monkeypatch.setattr(jobs_lib, "WAITING", 1)
    with service() as client:
        first = submit(client, epochs=60)
        pids(tmp_path, first)
        submit(client)
        response = client.post(JOBS, json={"manifest": "inner/good.jsonl"})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        client.delete(f"{JOBS}/{first}")


def test_a_manifest_that_takes_too_long_to_check_is_504(root, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_lib, "check", lambda root, given: time.sleep(0.5))
    opened = jobs_lib.opened(tmp_path / "jobs", root)
    with opened as jobs, clients.of(jobs=jobs, limits=Limits(seconds=0.1)) as client:
        assert client.post(JOBS, json={"manifest": "inner/good.jsonl"}).status_code == 504
        assert client.get(JOBS).json() == []


def test_the_token_is_needed_for_jobs(root, tmp_path):
    opened = jobs_lib.opened(tmp_path / "jobs", root)
    with opened as jobs, clients.of(jobs=jobs, token="secret") as client:
        some = "0" * 32
        for method, path in (
            ("GET", JOBS),
            ("POST", JOBS),
            ("GET", f"{JOBS}/{some}"),
            ("DELETE", f"{JOBS}/{some}"),
            ("GET", f"{JOBS}/{some}/labels.parquet"),
        ):
            assert client.request(method, path).status_code == 401
        headers = {"Authorization": "Bearer secret"}
        assert client.get(JOBS, headers=headers).json() == []


def test_a_folder_of_jobs_is_for_one_service(root, tmp_path):
    first, second = (jobs_lib.opened(tmp_path / "jobs", root) for _ in range(2))
    with first, pytest.raises(ValueError, match="runs jobs there; give another folder"), second:
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-9], "cannot be read as a JSON object"),
        (lambda text: text.replace('"queued"', '"runing"'), "was changed after it was written"),
        (lambda text: json.dumps({"id": "a"}), "does not describe a job; remove its folder"),
    ],
)
def test_a_damaged_state_is_named(change, message, root, tmp_path):
    folder = tmp_path / "jobs" / ("0" * 32)
    folder.mkdir(parents=True)
    job = jobs_lib.Job(manifest="a", id=folder.name, created=0.0)
    files.write_json(folder / "job.json", job.model_dump(), checksum=True)
    with jobs_lib.opened(tmp_path / "jobs", root) as jobs:
        assert [*jobs.by_id.values()] == [job]
    (folder / "job.json").write_text(change((folder / "job.json").read_text()))
    with pytest.raises(ValueError, match=message), jobs_lib.opened(tmp_path / "jobs", root):
        pass
