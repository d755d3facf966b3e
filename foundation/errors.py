"""The two kinds of error a user can meet; the command line turns each into one line and an exit status."""

from __future__ import annotations


class RatespikeError(Exception):
    """The world is not as it should be: a file missing or corrupt, a device absent, a run that failed (status 1).

    The message is one line that says what was wrong and what would be right.
    """

    exit_status = 1


class UsageError(RatespikeError):
    """What was asked for is wrong: an unknown name, a bad value, an unknown key in a config (status 2)."""

    exit_status = 2


class StoppedError(RatespikeError):
    """A run was asked to stop (Ctrl-C, SIGTERM) and can be resumed; the message says how.

    Args:
        message: what it says.
        begun: whether there is anything to go on with.
    """

    exit_status = 130

    def __init__(self, message: str, *, begun: bool = True) -> None:
        super().__init__(message)
        self.begun = begun


class Notice(Warning):
    """Something that a user should know and that is no error; the command line prints it as one line, once."""
