"""Brings a store up to date and is killed at its n-th migration step: python migrate_and_die.py URL N."""

import os
import signal
import sys

from alembic.operations import Operations

from bongsu.receiver.store import open_store

left = int(sys.argv[2])
invoke = Operations.invoke


def counted(self: Operations, operation: object) -> object:
    """Do it; die before the step that is one too many."""
    global left  # noqa: PLW0603
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return invoke(self, operation)  # type: ignore[arg-type]


Operations.invoke = counted  # type: ignore[method-assign, assignment]
open_store(sys.argv[1]).close()
