"""Waiting for what must happen, not for a while that is long on one machine and short on another."""

import time

LIMIT_S = 90.0


def until(true, limit_s=LIMIT_S):
    """Whether `true()` becomes true within the limit."""
    limit = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def quiet_after(n, gathered):
    """`gathered`, whose batch starts when `n` calls have arrived and not after a while without one: threads of a busy machine arrive when they can."""
    changed, arrived = gathered._changed, type(gathered._changed).wait

    def wait(quiet_s):
        limit = time.monotonic() + LIMIT_S
        while len(gathered._pending) < n and time.monotonic() < limit:
            arrived(changed, 0.1)
        return False

    changed.wait = wait
    return gathered
