"""The application: its commands, its exit codes, and the one place where errors become messages."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer

import karaffe
from karaffe.cli import (
    bench,
    choose,
    compare,
    doctor,
    evaluate,
    export,
    models,
    mos,
    predict,
    studio,
    surgery,
    train,
    upsamplers,
    upscale,
)
from karaffe.cli.common import errors_console
from karaffe.errors import ArgumentError, DtypeError, KaraffeError

# Newer typers carry their own copy of click: its exceptions are reached through typer's names, in either case.
UsageError: Any = typer.BadParameter.__bases__[0]

WELL, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="karaffe",
    help="Content-aware upsampling: enlarge pictures, compare methods, swap the upsampling of a network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("upscale")(upscale.upscale)
app.command("compare")(compare.compare)
app.command("surgery")(surgery.surgery)
app.command("upsamplers")(upsamplers.upsamplers)
app.command("models")(models.models)
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(predict.app, name="predict")
app.add_typer(choose.app, name="choose")
app.command("export")(export.export)
app.add_typer(mos.app, name="mos")
app.command("studio")(studio.studio)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"karaffe {karaffe.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; anywhere on the line.")
    ] = False,
) -> None:
    """What every command accepts."""


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; no exception leaves, unless ``--debug`` is among the arguments."""
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        code = app(arguments, standalone_mode=False)
    except UsageError as error:
        error.show()
        return WRONG_USE
    except (KeyboardInterrupt, typer.Abort):  # newer typers give the exit code instead
        code = INTERRUPTED
    except KaraffeError as error:
        if debug:
            traceback.print_exc()
        errors_console.print(f"karaffe: {error}", highlight=False, markup=False, soft_wrap=True)
        return WRONG_USE if isinstance(error, ArgumentError | DtypeError) else FAILED
    except BrokenPipeError:
        sys.stderr.close()
        return WELL
    if code == INTERRUPTED:
        errors_console.print("karaffe: interrupted; what was finished is kept, no half file is left", soft_wrap=True)
    return int(code or WELL)
