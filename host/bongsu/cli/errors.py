"""The one place where errors become text and an exit code: 0 ok, 1 failed, 2 usage, 130 interrupted.

Usage is what can never be right, whatever is stored and whatever is in files: a word, an option, a value typed wrong.
"""

import os
import sys
import traceback
from collections.abc import Callable

import click

from bongsu.errors import BongsuError, Interrupted, UsageFault, of_system

__all__ = ["BongsuError", "run"]

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def run(command: Callable[[], object]) -> int:
    """Run a command and return its exit code; every error goes to stderr with its next step."""
    try:
        result = command()
        sys.stdout.flush()
        return result if isinstance(result, int) else OK
    except BongsuError as err:
        return _say(err.message, err.next_step, USAGE if isinstance(err, UsageFault) else FAILED)
    except click.UsageError as err:
        err.show()
        return USAGE
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except (click.Abort, KeyboardInterrupt) as err:
        return _interrupted(err)
    except BrokenPipeError:
        # Who read our output has gone (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as err:
        told = of_system(err)
        return _say(told.message, told.next_step)
    except Exception as err:
        return _unexpected(err)


def _interrupted(err: BaseException) -> int:
    """What it leaves is said, if it leaves anything: click makes an Abort of it."""
    left = err if isinstance(err, Interrupted) else err.__cause__
    if isinstance(left, Interrupted):
        return _say(f"interrupted: {left.message}", left.next_step, INTERRUPTED)
    click.echo("interrupted", err=True)
    return INTERRUPTED


def _say(message: str, next_step: str, code: int = FAILED) -> int:
    click.echo(f"bongsu: {message}", err=True)
    if next_step:
        click.echo(f"  next: {next_step}", err=True)
    return code


def _unexpected(err: Exception) -> int:
    if os.environ.get("BONGSU_DEBUG"):
        traceback.print_exc()
    return _say(
        f"unexpected error, which is a fault of this program: {type(err).__name__}: {err}",
        "Run it again with BONGSU_DEBUG=1 and report what it prints.",
    )
