"""Executes one run of a sweep in any process: training, then the requested evaluation."""

import contextlib
import dataclasses
import gc
import traceback
from collections.abc import Callable
from typing import Any

from autolabel_jax import files, processes, train, trained
from experiments import launch
from experiments.sweeping.runs import Run

DONE, SKIPPED, FAILED, STOPPED = "done", "skipped", "failed", "stopped"

STAMP = "sweep.json"  # in each run: its settings, and its finished evaluation


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: one of the states above, and the reason if it is not done."""

    state: str
    message: str = ""


def attempt(run: Run, evaluation: dict[str, Any], should_stop: Callable[[], bool]) -> Outcome:
    """Executes or resumes a run; an error is in the outcome, and its traceback in the log.

    Args:
      run: the run.
      evaluation: keywords of ``trained.evaluate``; {} means no evaluation.
      should_stop: makes the run save and stop.
    """
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(run.log, "a", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            return Outcome(_attempt(run, evaluation, should_stop))
        except processes.Stopped as stopped:
            return Outcome(STOPPED, str(stopped))
        except Exception as error:  # any error, so that the other runs continue
            traceback.print_exc()
            first = (str(error).splitlines() or [""])[0]
            if not isinstance(error, launch.MISTAKES):
                first = f"{type(error).__name__}: {first}; see {run.log}"
            return Outcome(FAILED, first)
        finally:
            gc.collect()  # frees the arrays of this run before the next one


def _attempt(run: Run, evaluation: dict[str, Any], should_stop: Callable[[], bool]) -> str:
    workdir, stamp = run.run_dir.path, run.run_dir.path / STAMP
    if is_finished := run.run_dir.read_result() is not None:
        run.run_dir.check_config(run.config)
    else:
        train.train(run.config, workdir, should_stop=should_stop, progress=False)
    known: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError, files.DamagedError):  # evaluated and written again
        known = files.read_json(stamp)
    is_evaluated = not evaluation or known.get("evaluation") == evaluation
    if not is_evaluated:
        trained.evaluate(workdir, run.config, **evaluation, should_stop=should_stop)
    if is_finished and is_evaluated:
        return SKIPPED
    files.write_json(stamp, {"settings": run.settings, "evaluation": evaluation}, checksum=True)
    return DONE
