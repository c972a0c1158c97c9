"""The command line, its commands registered. Every mistake of a user ends in one sentence and exit code 2."""

import logging

from cohobate import ending
from cohobate.cli import evaluating, leaving, looking, running, transferring  # noqa: F401
from cohobate.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Runs the command line. Ends with 2 for a mistake of the user, 1 for a failed training."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry
    ending.run(app)
