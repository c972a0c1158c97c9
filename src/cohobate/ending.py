"""How a command ends: one sentence for every mistake, said once, and an exit code."""

import errno
import os
import sys
import traceback
from typing import Any, NoReturn

import typer

from cohobate.interrupt import Interrupted


def run(app: Any) -> NoReturn:
    """Runs a typer app and ends the process: with 0; 2 for a mistake of the user; 1 for a fault."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code)
    except typer.Abort:
        sys.exit(130)
    except Interrupted as stop:
        if is_first_process():
            print(f"{stop}; nothing is lost: the same command goes on from the last checkpoint")
        sys.exit(128 + stop.number)
    except KeyboardInterrupt:
        fail("stopped before the first step; nothing was lost", 130)
    except BrokenPipeError:  # `cohobate models | head`: nobody reads on, and that is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong command or option, found by typer
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        if os.environ.get("COHOBATE_TRACEBACK"):
            traceback.print_exc()
        fail(*sentence_of(error))


def is_first_process() -> bool:
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def sentence_of(error: Exception) -> tuple[str, int]:
    """The sentence and the exit code of an error."""
    from cohobate.core import out_of_memory

    sentence = str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        sentence = f"no space is left to write {error.filename or 'the run folder'}"
        return f"{sentence}: free some, and the same command goes on", 2
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}", 2
    if "more than 1 value per channel" in sentence:
        sentence = "batch norm cannot learn from one value"
        return f"{sentence}: raise data.batch_size to 2 or more a process", 2
    if isinstance(error, ValueError | OSError):
        return sentence, 2
    if out_of_memory(error):
        sentence = "out of memory: a smaller data.size needs less of it, and so does a smaller"
        return f"{sentence} data.batch_size or eval.batch_size", 2
    if isinstance(error, FloatingPointError):
        return sentence, 1
    if not is_first_process():
        sys.exit(1)
    first = sentence.splitlines()[0] if sentence else ""
    return (
        f"{type(error).__name__}: {first} - this is a fault of cohobate;"
        " COHOBATE_TRACEBACK=1 shows where",
        1,
    )


def fail(sentence: str, code: int) -> NoReturn:
    if is_first_to_fail():
        print(f"cohobate: {sentence}", file=sys.stderr, flush=True)
    sys.exit(code)


def is_first_to_fail() -> bool:
    """Whether this process is the one of several that tells why they end."""
    import torch.distributed

    from cohobate.distributed import is_first

    known = torch.distributed.is_initialized()  # until then all of them fail alike
    return is_first("failure") if known else is_first_process()
