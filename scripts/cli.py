"""The click group. Commands are imported when they are called, so that `ratespike --help` is immediate."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from foundation.errors import Notice, RatespikeError, StoppedError
from foundation.text import one_line

from .commands import LazyGroup
from .streams import NAMES, give_up, open_streams

# Idle threads that spin, as OpenMP's do by default, stall everything where another program has the other cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["MPLBACKEND"] = "agg"  # figures are files; and what is no backend would not even be imported
os.environ.setdefault(
    "KINETO_LOG_LEVEL", "99"
)  # torch's profiler, which `benchmark butd` asks for memory, is talkative

LONGEST = 2000  # characters of an error; the names of files may be long
COMMANDS = {
    "demo": ("demo:command", "The whole tour on bundled data, with a report at the end."),
    "data": ("data:command", "List and get datasets in their official files."),
    "deep": ("deep:command", "Train rate networks with local rules, and read them out."),
    "spike": ("spike:command", "Simulate the paper's spiking network and its pairing protocol."),
    "bridge": ("bridge:command", "Move weights, stimuli and plasticity between rate and spiking networks."),
    "figure": ("figure:command", "Draw publication figures from run files."),
    "benchmark": ("benchmark:command", "Measure speed against a peer in the same run."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ratespike")
def group() -> None:
    """Rate-based and spiking simulations of plausible learning, and the bridge between them."""


def main() -> None:
    """Run the command line; an error of ours is one line on standard error and its exit status."""
    open_streams()
    warnings.showwarning = _show
    interrupts: list[int] = []
    try:
        with _noted(interrupts):
            _run()
    except Exception:
        if not interrupts:  # an import that is interrupted fails in ways of its own
            raise
        _stopped()
    except KeyboardInterrupt:
        _stopped()


@contextmanager
def _noted(interrupts: list[int]) -> Iterator[None]:
    """Note every Ctrl-C that nobody waits for."""

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stopped() -> NoReturn:
    click.echo("stopped", err=True)
    sys.exit(130)


def _run() -> None:
    try:
        group.main(prog_name="ratespike", standalone_mode=False)
    except click.exceptions.Abort:
        _stopped()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        name = context.command_path if context is not None else "ratespike"
        _fail(f"{error.format_message()} See `{name} --help`.", error.exit_code, name)
    except StoppedError as error:
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1  # torchrun has a command line of its own
        _fail(str(error) if several else f"{error}: `{_again(error.begun)}`", error.exit_status)
    except RatespikeError as error:
        _fail(in_options(str(error), _command(sys.argv[1:])), error.exit_status)
    except MemoryError as error:
        _fail(f"not enough memory: {error}", 1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported for this
            raise
        _fail("not enough memory on the device; take smaller batches, or a narrower network", 1)
    except OSError as error:
        if error.filename == NAMES[1]:
            give_up(1)
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)


def _show(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
    """What a library warns of, without the line of its source."""
    kind = "" if issubclass(category, Notice) else f"{category.__name__}: "
    click.echo(f"ratespike: {kind}{one_line(message, LONGEST)}", err=True)


def _command(words: Sequence[str]) -> click.Command:
    """The command that those words of a command line call."""
    found: click.Command = group
    for word in words:
        if not isinstance(found, click.Group):
            break
        found = found.get_command(click.Context(found), word) or found
    return found


def in_options(message: str, command: click.Command) -> str:
    """A message of the library in the terms of a command: arguments by the names of its options.

    The library says `steps: must be at least 1`, or names round_times in the middle; here these are --steps and
    --round-times. Settings keep the names that they have in a config file.
    """
    flags: dict[str, str] = {}
    for option in command.params:
        if isinstance(option, click.Option):
            flag = max(option.opts, key=len)
            flags |= {str(option.name): flag, flag.lstrip("-").replace("-", "_"): flag}

    def shown(match: re.Match[str]) -> str:
        return flags.get(match[0], match[0])

    message = re.sub(r"^[a-z_0-9]+(?=: )", shown, message)
    return re.sub(r"(?<![\w/.\-'\"])[a-z]+(?:_[a-z0-9]+)+(?![\w/.'\":])", shown, message)


def _again(begun: bool = True) -> str:
    """The command line that goes on with what was stopped, or begins it."""
    if not begun:
        return shlex.join(["ratespike", *sys.argv[1:]])
    words = [word for word in sys.argv[1:] if word != "--force"]
    options = [name for option in _command(words).params for name in option.opts]
    if "--resume" in options and not {*RESUMING} & {*words}:
        words = [*_without_presets(words), "--resume"] if words[0] == "deep" else [*words, "--resume"]
    return shlex.join(["ratespike", *words])


RESUMING = ("--resume", "--resume-from-checkpoint")
PRESETS = ("--preset", "--config", "--config-file", "--config_file")
"""What a training that goes on has in its folder, and does not take again."""


def _without_presets(words: list[str]) -> list[str]:
    kept: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        if before not in PRESETS and word.partition("=")[0] not in PRESETS:
            kept.append(word)
    return kept


def _fail(message: str, status: int, name: str = "ratespike") -> NoReturn:
    click.echo(f"{name}: {one_line(message, LONGEST)}", err=True)
    sys.exit(status)


if __name__ == "__main__":  # `torchrun -m ratespike.cli`
    main()
