"""Jobs: manifests below a folder → labels and predictors, one at a time, in own processes.

A job is a folder: job.json with its state, log.txt, run/, labels.parquet, bucket_stats.parquet and
predictor/. The commands of a job resume where a process before them was stopped, so a job that was
running when the service ended is run again by the next service.
"""

import asyncio
import contextlib
import pathlib
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Generator, Sequence
from typing import Annotated, Literal

import pydantic

from autolabel_jax import files
from autolabel_jax.datasets import manifest_rows
from autolabel_jax.serving import job_processes

FILE, LOG, LABELS, PREDICTOR = "job.json", "log.txt", "labels.parquet", "predictor"
LOCK = ".lock"  # of a job: held by its process; of the folder of jobs: held by the service
PROGRAM = (sys.executable, "-m", "autolabel_jax.commands.main")
WAITING = 256  # most jobs that wait

Field = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9_.]+$")]
Number = Annotated[float, pydantic.Field(strict=True, allow_inf_nan=False)]
State = Literal["queued", "running", "finished", "failed"]
STATES: tuple[State, ...] = ("queued", "running", "finished", "failed")


class Asked(pydantic.BaseModel):
    """What a request for a job says.

    Attributes:
      manifest: path of the manifest, relative to the data root.
      config: fields of the config, such as ``{"epochs": 20}``; numbers alone, as text could name
        files and code.
    """

    model_config = pydantic.ConfigDict(extra="forbid")
    manifest: str = pydantic.Field(min_length=1)
    config: dict[Field, pydantic.StrictBool | pydantic.StrictInt | Number] = {}


class Job(Asked):
    """A job and its state.

    Attributes:
      id: name of the job, and of its folder.
      state: what it does.
      created: time of the request, in seconds since 1970.
      started: time of the first start of its process.
      ended: time of its end.
      error: why it failed.
    """

    id: str
    state: State = "queued"
    created: float
    started: float | None = None
    ended: float | None = None
    error: str | None = None


class OutsideError(ValueError):
    """A path leads out of the data root."""


class FullError(Exception):
    """As many jobs wait as may wait."""


class Jobs:
    """The jobs of a folder; all methods are called in one event loop.

    Args:
      folder: folder of the jobs.
      root: folder that the data are in.
      program: start of each command line.

    Attributes:
      by_id: the jobs, the oldest first.
    """

    def __init__(self, folder: pathlib.Path, root: pathlib.Path, program: Sequence[str] = PROGRAM):
        self.folder, self.root, self._program = folder, root.resolve(strict=True), program
        found = sorted(map(_read, folder.glob(f"*/{FILE}")), key=lambda job: job.created)
        self.by_id = {job.id: job for job in found}
        self._wake = asyncio.Event()

    def path(self, job: Job, name: str) -> pathlib.Path:
        """Returns the path of a file of a job."""
        return self.folder / job.id / name

    async def submit(self, asked: Asked) -> Job:
        """Adds a job after a check of its manifest.

        Raises:
          OutsideError: a path leads out of the data root.
          ValueError, OSError: the manifest cannot be used.
          FullError: too many jobs wait.
        """
        await asyncio.to_thread(check, self.root, asked.manifest)
        if sum(job.state == "queued" for job in self.by_id.values()) >= WAITING:
            raise FullError
        job = Job(**asked.model_dump(), id=uuid.uuid4().hex, created=time.time())
        self.path(job, "").mkdir(parents=True)
        self._write(job)
        self.by_id[job.id] = job
        self._wake.set()
        return job

    async def delete(self, job: Job) -> None:
        """Ends the processes of a job, and removes its folder."""
        del self.by_id[job.id]
        await job_processes.end(self.path(job, LOCK), signal.SIGKILL)
        self.path(job, FILE).unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, self.path(job, ""), ignore_errors=True)

    async def run(self) -> None:
        """Runs one job after the other until it is cancelled; a cancelled job is resumed later."""
        while True:
            waiting = (job for job in self.by_id.values() if job.state in ("running", "queued"))
            job = next(waiting, None)
            if job is None:
                await self._wake.wait()
                self._wake.clear()
                continue
            try:
                await self._perform(job)
            except (ValueError, OSError) as error:
                self._end(job, str(error))

    async def _perform(self, job: Job) -> None:
        await job_processes.end(self.path(job, LOCK))  # one that outlived its service
        self._update(job, state="running", started=job.started or time.time())
        manifest = await asyncio.to_thread(check, self.root, job.manifest)
        for command in self._commands(job, manifest):
            if job.id not in self.by_id:
                return
            code = await self._execute(job, command)
            if code:
                self._end(job, _reason(code, self.path(job, LOG)))
                return
        self._end(job, None)

    def _commands(self, job: Job, manifest: pathlib.Path) -> list[list[str]]:
        run, labels = self.path(job, "run"), self.path(job, LABELS)
        config = [f"--config.{name}={value}" for name, value in job.config.items()]
        return [
            ["label", f"--data={manifest}", f"--out={labels}", f"--run={run}", *config],
            ["export", f"--run={run}", f"--out={self.path(job, PREDICTOR)}"],
        ]

    async def _execute(self, job: Job, command: Sequence[str]) -> int:
        """Runs a command in a process group of its own; returns its exit code."""
        lock, log = self.path(job, LOCK), self.path(job, LOG)
        return await job_processes.wait(job_processes.start([*self._program, *command], lock, log))

    def _end(self, job: Job, error: str | None) -> None:
        self._update(job, state="failed" if error else "finished", ended=time.time(), error=error)

    def _update(self, job: Job, **changes: object) -> None:
        if job.id in self.by_id:
            for name, value in changes.items():
                setattr(job, name, value)
            self._write(job)

    def _write(self, job: Job) -> None:
        files.write_json(self.path(job, FILE), job.model_dump(), checksum=True)


@contextlib.contextmanager
def opened(
    folder: pathlib.Path, root: pathlib.Path, program: Sequence[str] = PROGRAM
) -> Generator[Jobs]:
    """Locks a folder of jobs for one service, and reads them.

    Raises:
      ValueError: another service uses the folder, or the state of a job cannot be read.
      OSError: a folder cannot be read or made.
    """
    folder = folder.absolute()
    with files.lock(folder / LOCK) as holder:
        if holder is not None:
            raise ValueError(f"--jobs: {folder}: {holder} runs jobs there; give another folder")
        yield Jobs(folder, root, program)


def check(root: pathlib.Path, given: str) -> pathlib.Path:
    """Returns the path of a manifest after a check that it and its images are below a folder.

    Args:
      root: the folder, without symbolic links.
      given: path of the manifest, relative to it.

    Raises:
      OutsideError: a path leads out of the folder, perhaps by a symbolic link.
      ValueError, OSError: the manifest cannot be read, or has no distances.
    """
    path = (root / given).resolve()
    if not path.is_relative_to(root):
        raise OutsideError(f"manifest: {given!r} is not below the data root")
    if not path.is_file():
        raise ValueError(f"manifest: {given!r} is no file below the data root")
    rows = manifest_rows.list_rows(str(path))
    if rows.distance is None:
        raise ValueError(f"manifest: {given!r} has no column 'distance'")
    for image in rows.paths or ():
        if isinstance(image, str) and not pathlib.Path(image).resolve().is_relative_to(root):
            raise OutsideError(f"manifest: {given!r} names an image outside of the data root")
    return path


def _read(path: pathlib.Path) -> Job:
    try:
        return Job(**files.read_json(path))
    except pydantic.ValidationError as error:
        raise files.DamagedError(path, "does not describe a job; remove its folder") from error


def _reason(code: int, log: pathlib.Path) -> str:
    """Returns why a command failed: the last line of its log, unless it was killed."""
    if code < 0:
        return f"ended by signal {-code}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {code}"
