"""``karaffe mos``: ask people which pictures they prefer, and turn their answers into figures."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from karaffe.cli.common import Json, Overwrite, console, print_json, terminated_as_interrupted
from karaffe.errors import BackendError

app = typer.Typer(help="Studies in which people rate pictures.", no_args_is_help=True)

Where = Annotated[str, typer.Argument(help="The study's database: a file, or a PostgreSQL URL.")]
NEEDED = "'karaffe mos' needs {}: pip install 'karaffe[studio]'"


@app.command()
def create(
    study: Annotated[Path, typer.Argument(help="The study file (YAML).")],
    database: Annotated[
        str | None, typer.Option(help="Where to keep the study (default: STUDY.sqlite3 beside the file).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read a study file and its pictures, check them, and write a database that holds the whole study."""
    try:
        from karaffe.studio.mos.create import create_study
    except ModuleNotFoundError as error:
        raise BackendError(NEEDED.format(error.name)) from None
    config, where = create_study(study, database)
    if as_json:
        print_json({"study": config.study, "design": config.design, "database": where})
        return
    console.print(f"{config.heading}: {config.plan.title}", highlight=False, markup=False)
    console.print(f"kept in {where}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def serve(
    database: Where,
    host: Annotated[str, typer.Option(help="Address to listen on; by default only this machine reaches it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    hostname: Annotated[
        list[str] | None, typer.Option(help="Host name under which raters come, also through a proxy; repeatable.")
    ] = None,
) -> None:
    """Put the study to raters, until interrupted; it can be stopped and started at any time."""
    try:
        from karaffe.studio.mos.server.serving import serve_study
    except ModuleNotFoundError as error:
        raise BackendError(NEEDED.format(error.name)) from None
    # An interruption is how a server ends.
    with terminated_as_interrupted(), suppress(KeyboardInterrupt):
        serve_study(database, host, port, tuple(hostname or ()))


@app.command()
def report(
    database: Where,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("report"),
    screening: Annotated[str, typer.Option(help="Whose rejected raters are left out: bt500, p913 or none.")] = "bt500",
    note: Annotated[str, typer.Option(help="A sentence to show at the top.")] = "",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the figures so far: HTML, JSON, CSV and every vote. The study may be running."""
    try:
        from karaffe.studio.mos.report import write_report
    except ModuleNotFoundError as error:
        raise BackendError(NEEDED.format(error.name)) from None
    summary = write_report(database, output, screening=screening, overwrite=overwrite, note=note)
    if as_json:
        typer.echo((output / "report.json").read_text(encoding="utf-8"))
        return
    counts = summary.progress
    console.print(
        f"{counts['raters']} raters, {counts['finished']} finished, {counts['answers']} answers: {output}/report.html",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
