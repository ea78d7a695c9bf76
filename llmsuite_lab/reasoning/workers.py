"""The sandbox's worker processes: started once, by whichever thread comes first; each wait has a limit; never used across a fork."""

import os
import threading
from typing import Any

from llmsuite_lab.core.errors import LabError

WAIT_S = 10.0  # how long a program may wait for a worker, beside one program's own time
GRACE_S = 0.3  # past its limit, before a worker that does not stop by itself is killed
_inherited: list[Any] = []  # pools of a parent process: kept, because letting go of them here would end its workers
_first_pid: list[int] = []  # the process in which the sandbox's runtime, one per process, was started


class Workers:
    """A pool of at most `count` workers for programs of at most `seconds`; nothing is started before `pool()` is asked for."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count, self.seconds = count, seconds
        self._pool: Any = None
        self._pid = 0  # the process that started the pool
        self._starting = threading.Lock()

    def pool(self) -> Any:
        """The running pool. Raises LabError when it cannot start, and after a fork: runtime and workers stayed with the parent."""
        import pydantic_monty as monty

        if _first_pid and _first_pid[0] != os.getpid():  # asked before the lock, which a fork may have copied while it was held
            raise LabError(
                "this process was forked from one that had used the sandbox, whose workers belong to the parent: start it with "
                "multiprocessing's 'spawn' method, or run the programs in the parent"
            )
        with self._starting:
            if self._pool is None:
                try:
                    pool = monty.Monty(
                        min_processes=1,
                        max_processes=self.count,
                        feed_duration_limit_grace=GRACE_S,
                        request_timeout=self.seconds + 2 * GRACE_S,
                        checkout_timeout=WAIT_S + self.seconds,
                    )
                    _first_pid[:] = [os.getpid()]
                    self._pool, self._pid = pool.__enter__(), os.getpid()
                except (OSError, RuntimeError, monty.MontyError) as error:
                    raise LabError(
                        f"the sandbox for model-written programs does not start ({error}): reinstall it with `pip install pydantic-monty`"
                    ) from error
            return self._pool

    def close(self) -> None:
        """End the workers; the next `pool()` starts new ones. In a fork, the parent's are left alone."""
        pool, self._pool = self._pool, None
        if pool is not None and self._pid != os.getpid():
            _inherited.append(pool)
        elif pool is not None:
            pool.__exit__(None, None, None)
