"""Runs jobs of a sweep in a process that ``experiments.sweep`` starts.

It reads jobs as lines of JSON from standard input and writes outcomes as lines to standard output.
At the end of the input, which also comes when the sweep is killed, it saves and stops.
"""

import dataclasses
import json
import os
import queue
import signal
import sys
import threading

from absl import flags

from experiments import launch
from experiments.sweeping import job as sweep_job
from experiments.sweeping.job import Job, Stop

_CORES = flags.DEFINE_list("cores", [], "Numbers of the processor cores to use (empty = all).")


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    if _CORES.value and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, _CORES.value))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # all other output goes to the log
    stop = Stop()
    stop.install()
    jobs: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs, stop), daemon=True).start()
    while not stop() and (line := jobs.get()) is not None:
        outcome = sweep_job.attempt(Job(**json.loads(line)), stop)
        print(json.dumps(dataclasses.asdict(outcome)), file=answers, flush=True)
    os._exit(0)  # the thread may still be reading the input


def _listen(jobs: queue.Queue, stop: Stop) -> None:
    for line in sys.stdin:
        jobs.put(line)
    stop.tell()
    jobs.put(None)
    # The main thread may be evaluating, which only a signal interrupts.
    signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)


if __name__ == "__main__":
    launch.run(main)
