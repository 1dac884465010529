"""The command line: ``python -m infocap``."""

import contextlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import joblib
import typer

from infocap.study import doctor as checks
from infocap.study import runner
from infocap.study.claims import scorecard
from infocap.study.profiles import ProfileError, keys
from infocap.study.store import Store
from infocap.study.sweep import SweepError, collect
from infocap.study.tables import write

__all__ = ["make_app"]

ProfileName = Annotated[str, typer.Option(help="smoke, quick or full")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one key; repeatable")]
StorePath = Annotated[str | None, typer.Option(help="folder of the store; default: the user's cache")]
Jobs = Annotated[int | None, typer.Option(min=1, help="worker processes; default: one per core")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; default: the profile's")]


def make_app(catalogue) -> typer.Typer:
    """Builds the command line of a catalogue of experiments (``infocap.experiments.catalogue``)."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
    store_app = typer.Typer(no_args_is_help=True, help="Look after the store of finished cells.")
    app.add_typer(store_app, name="store")

    def select(only: list[str] | None) -> list[str]:
        """The tables named by ``--only``: whole names, or parts such as ``noisy_labels``."""
        chosen = [name for name in catalogue.TABLES if not only or any(_covers(word, name) for word in only)]
        if not chosen:
            raise typer.BadParameter(f"only: no table {only}; accepted: {', '.join(catalogue.TABLES)}")
        return chosen

    def profile_of(name: str, settings: list[str] | None, device: str | None = None):
        return catalogue.load_profile(name, [*(settings or []), *([f"device={device}"] if device else [])])

    @app.command()
    def run(
        profile: ProfileName = "quick",
        only: Annotated[list[str] | None, typer.Option(help="chapter, such as noisy_labels/limit; repeatable")] = None,
        settings: Settings = None,
        store: StorePath = None,
        jobs: Jobs = None,
        book: Annotated[Path, typer.Option(help="folder of the book")] = Path("book"),
    ) -> None:
        """Computes what is missing, runs every chapter, renders the book and prints its path."""
        known = set(keys(catalogue.load_profile(profile).model_dump()))
        own = [setting for setting in settings or [] if setting.partition("=")[0] not in known]
        chapters = list(only or runner.chapters(book))
        for setting in own:  # not a profile key: a parameter of the chapters, or a mistake
            for chapter in chapters:
                if (book / f"{chapter}.ipynb").exists():
                    runner.check_parameters(book / f"{chapter}.ipynb", _parameters([setting]))
        changes = [setting for setting in settings or [] if setting not in own]
        chosen = catalogue.load_profile(profile, changes)
        parts = {chapter.split("/")[0] for chapter in chapters}
        tables = [n for n in catalogue.TABLES if n.split("/")[0] in parts or "scorecard" in parts]
        progress = catalogue.compute(tables, chosen, Store(store), jobs=jobs)
        print(f"cells: {progress}")
        for name in tables:
            table = collect(name, chosen.name, catalogue.work(name, chosen), Store(store), chosen.device)
            write(table, book / "_build" / "tables" / chosen.name / f"{name}.json")
        parameters = {"profile": profile, "settings": changes, "store": str(Path(store).resolve()) if store else None}
        outcome = runner.stage(book, chapters, parameters | _parameters(own), chosen.model_dump_json(), jobs=jobs)
        for chapter, seconds in outcome.items():
            print(f"{chapter}: {seconds}")
        print(runner.render(book).resolve())

    @app.command()
    def sweep(
        profile: ProfileName = "quick",
        only: Annotated[list[str] | None, typer.Option(help="table or part; repeatable")] = None,
        settings: Settings = None,
        store: StorePath = None,
        jobs: Jobs = None,
        shard: Annotated[str, typer.Option(metavar="I/N", help="every N-th cell, from the I-th on")] = "0/1",
        scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="a dask scheduler")] = None,
        device: Device = None,
    ) -> None:
        """Computes cells only, here or on a dask cluster; the store receives them as they arrive."""
        chosen, names = profile_of(profile, settings, device), select(only)
        with _backend(scheduler):
            jobs = -1 if scheduler else jobs
            print(catalogue.compute(names, chosen, Store(store), jobs=jobs, shard=_shard(shard)))

    @app.command()
    def claims(
        profile: ProfileName = "quick",
        settings: Settings = None,
        store: StorePath = None,
        as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    ) -> None:
        """Decides every claim from the cells that the store holds; computes nothing."""
        chosen = profile_of(profile, settings)
        tables = {
            name: collect(name, chosen.name, catalogue.work(name, chosen), Store(store), chosen.device)
            for name in catalogue.TABLES
        }
        rows = scorecard(catalogue.CLAIMS, tables, chosen)
        if as_json:
            print(json.dumps(rows.to_dict("records"), indent=1))
            return
        for row in rows.to_dict("records"):
            print(f"{row['verdict']:24} {row['kind']:8} {row['statement']}\n{'':33} {row['evidence']}")

    @app.command()
    def doctor() -> None:
        """Says what is missing or mismatched in this environment, and the fix."""
        faults = checks.faults()
        for fault in faults:
            print(fault)
        if faults:
            raise typer.Exit(1)
        print(f"infocap {version('infocap')}: all checks passed")

    @store_app.command("list")
    def list_(store: StorePath = None) -> None:
        """One line per record: key, table, seconds, fields."""
        place = Store(store)
        for key in place.keys():
            record = place.get(key)
            if record is not None:
                print(key[:12], record.table, f"{record.provenance['seconds']} s", json.dumps(record.fields))

    @store_app.command()
    def verify(store: StorePath = None) -> None:
        """Reads every record and checks its checksum."""
        place = Store(store)
        damaged = place.verify()
        for key in damaged:
            print(f"damaged: {place.path(key)}; it will be computed again")
        print(f"{sum(1 for _ in place.keys())} records, {len(damaged)} damaged, in {place.root}")
        if damaged:
            raise typer.Exit(1)

    @store_app.command()
    def prune(
        store: StorePath = None,
        profile: Annotated[list[str] | None, typer.Option(help="profiles to keep; default: all three")] = None,
    ) -> None:
        """Removes the records that no table of the kept profiles uses any more."""
        kept = [catalogue.load_profile(name) for name in profile or ("smoke", "quick", "full")]
        keep = {task.key for chosen in kept for name in catalogue.TABLES for task in catalogue.work(name, chosen)}
        print(f"freed {Store(store).prune(keep) / 1e6:.1f} MB")

    return app


def main(catalogue) -> None:
    """Runs the command line; a fault that a person can mend is one line, not a traceback."""
    try:
        make_app(catalogue)()
    except (ProfileError, runner.ChapterError, SweepError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


def _covers(word: str, name: str) -> bool:
    return word == name or name.startswith(f"{word}/")


def _parameters(settings: list[str]) -> dict:
    pairs = [setting.partition("=") for setting in settings]
    for name, equals, _ in pairs:
        if not equals:
            raise ProfileError(f"set: got {name!r}; accepted: key=value")
    return {name: _literal(value) for name, _, value in pairs}


def _literal(text: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit()):
        raise typer.BadParameter(f"shard: got {text!r}; accepted: i/n, such as 0/4")
    return int(index), int(count)


@contextlib.contextmanager
def _backend(scheduler: str | None):
    if scheduler is None:
        yield
        return
    from distributed import Client

    with Client(scheduler), joblib.parallel_config(backend="dask"):
        yield
