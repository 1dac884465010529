"""The command line: ``python -m infocap``."""

import contextlib
import json
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from infocap.study import doctor as checks
from infocap.study import manifest, provenance, runner
from infocap.study.catalogue import Catalogue
from infocap.study.cells import fields
from infocap.study.claims import scorecard
from infocap.study.parts import parts_read
from infocap.study.profiles import Profile
from infocap.study.scorecard import to_json
from infocap.study.store import Store
from infocap.study.sweep import Progress, SweepError, Task, cluster
from infocap.study.tables import write

__all__ = ["main", "make_app"]

_UsageError = typer.BadParameter.__base__  # typer does not export it
ProfileName = Annotated[str, typer.Option(help="smoke, quick, evidence or full")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one key; repeatable")]
StorePath = Annotated[str | None, typer.Option(help="folder of the store; default: the user's cache")]
Jobs = Annotated[int | None, typer.Option(min=1, help="worker processes; default: one per physical core")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; default: the profile's")]


def make_app(catalogue: Catalogue) -> typer.Typer:
    """Builds the command line of a study."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
    store_app = typer.Typer(no_args_is_help=True, help="Look after the store of finished cells.")
    app.add_typer(store_app, name="store")

    def select(only: list[str] | None) -> list[str]:
        """The tables named by ``--only``: whole names, or parts such as ``noisy_labels``."""
        chosen = [name for name in catalogue.tables if not only or any(_covers(word, name) for word in only)]
        if not chosen:
            raise typer.BadParameter(f"only: no table {only}; accepted: {', '.join(catalogue.tables)}")
        return chosen

    @app.command()
    def run(
        context: typer.Context,
        profile: ProfileName = "quick",
        only: Annotated[list[str] | None, typer.Option(help="chapter, such as noisy_labels/limit; repeatable")] = None,
        settings: Settings = None,
        store: StorePath = None,
        jobs: Jobs = None,
        book: Annotated[Path, typer.Option(help="folder of the book")] = Path("book"),
    ) -> None:
        """Computes what is missing, runs every chapter, renders the book and prints its path."""
        settings, place = settings or [], Store(store)
        chosen = catalogue.load_profile(profile, settings)
        chapters = only or runner.chapters(book)
        shared = {"profile": profile, "settings": settings, "store": store and str(Path(store).resolve())}
        runner.check(book, dict.fromkeys(chapters, shared))
        context.with_resource(runner.alone(book))
        read = {chapter: parts_read(book / f"{chapter}.ipynb", catalogue.tables) for chapter in chapters}
        tables = [name for name in catalogue.tables if any(_part(name) in parts for parts in read.values())]
        work = {name: catalogue.work(name, chosen) for name in tables}
        if not chosen.computes:
            _require_all(profile, [task for own in work.values() for task in own], place)
        progress, stamps, reasons, seconds = _compute_and_execute(
            catalogue, chosen, place, book, work=work, read=read, shared=shared, jobs=jobs
        )
        new = sum(map(bool, reasons.values()))
        print(f"cells: {progress}\nchapters: reused {len(reasons) - new}, computed {new}", flush=True)
        start = time.perf_counter()
        facts = {"profile": profile, "settings": settings, "device": chosen.device}
        content = manifest.gather(book, facts, progress, stamps, reasons, seconds)
        manifest.write_page(book, content)
        page, shown = book / "_build" / "html" / "index.html", manifest.lasting(content)
        if runner.rendered(book, shown):
            print("pages: as they were")
        else:
            runner.render(book, shown)
            content["seconds"]["pages"] = round(time.perf_counter() - start, 1)
            manifest.write(page.parent / "manifest.json", content)
        print(page.resolve())

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
        names = select(only)
        chosen = catalogue.load_profile(profile, [*(settings or []), *([f"device={device}"] if device else [])])
        with cluster(scheduler) if scheduler else contextlib.nullcontext():
            work = [task for name in names for task in catalogue.work(name, chosen)]
            print(catalogue.compute(work, chosen, Store(store), jobs=jobs, shard=_shard(shard)))

    @app.command()
    def claims(
        profile: ProfileName = "quick",
        settings: Settings = None,
        store: StorePath = None,
        as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    ) -> None:
        """Decides every claim from the cells that the store holds; computes nothing."""
        chosen = catalogue.load_profile(profile, settings or [])
        tables = {name: catalogue.collect(name, chosen, Store(store)) for name in catalogue.tables}
        rows = scorecard(catalogue.claims, tables)
        if as_json:
            print(to_json(rows))
            return
        for row in rows.to_dict("records"):
            print(f"{row['verdict']:24} {row['kind']:8} {row['statement']}\n{'':33} {row['evidence']}")

    @app.command()
    def doctor() -> None:
        """Says what is missing or mismatched in this environment, and the fix."""
        raise typer.Exit(checks.main())

    @store_app.command("list")
    def list_(store: StorePath = None) -> None:
        """One line per record: key, table, seconds, fields."""
        place = Store(store)
        for key in place:
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
        print(f"{sum(1 for _ in place)} records, {len(damaged)} damaged, in {place.root}")
        if damaged:
            raise typer.Exit(1)

    @store_app.command()
    def prune(
        store: StorePath = None,
        profile: Annotated[list[str] | None, typer.Option(help="profiles to keep; default: all")] = None,
    ) -> None:
        """Removes the records that no table of the kept profiles uses any more."""
        kept = [catalogue.load_profile(name) for name in profile or catalogue.names()]
        place = Store(store)
        work = [task for chosen in kept for name in catalogue.tables for task in catalogue.work(name, chosen)]
        keep = {task.key for task in work}
        unknown = [fields(task.cell) for task in work if task.fault]  # their data is not at hand, their keys neither
        if unknown:
            keep |= {key for key in place if (record := place.get(key)) and record.fields in unknown}
        print(f"freed {place.prune(keep) / 1e6:.1f} MB")

    return app


def main(catalogue: Catalogue) -> None:
    """Runs the command line; a fault that a person can mend is a message, not a traceback."""
    try:
        sys.exit(make_app(catalogue)(standalone_mode=False))
    except (runner.ChapterError, SweepError) as error:  # a report on several failures
        raise SystemExit(f"error: {error}") from None
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {_one_line(str(error))}") from None
    except _UsageError as error:
        if message := error.format_message():  # without any argument the help was shown
            print(f"error: {_one_line(message)} (try --help)", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _one_line(text: str) -> str:
    """A message without line breaks and control characters, which may come from what a person typed or a file holds."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _require_all(profile: str, work: Sequence[Task], store: Store) -> None:
    """Refuses to show a profile that is read from stored rows before they are there."""
    missing = sum(task.result(store) is None for task in work)
    if missing:
        raise typer.BadParameter(
            f"profile: {missing} of {len(work)} cells of {profile!r} are not stored yet; accepted: another profile, or "
            f"first python -m infocap sweep --profile {profile}"
        )


def _compute_and_execute(
    catalogue: Catalogue,
    profile: Profile,
    store: Store,
    book: Path,
    *,
    work: dict[str, list[Task]],
    read: dict[str, set[str]],
    shared: dict[str, Any],
    jobs: int | None,
) -> tuple[Progress, dict[str, dict[str, Any]], dict[str, str], dict[str, float]]:
    """Part by part: computes its cells, writes its tables, and executes the chapters that read no later part.

    Args:
        catalogue: Its tables.
        profile: The profile of the build.
        store: Receives the cells.
        book: The folder of the book.
        work: The cells, by table.
        read: The parts that each chapter reads, by chapter.
        shared: Parameters of all chapters; each gets those settings that may concern it.
        jobs: As in ``run``.

    Returns:
        What became of the cells, the provenance of each table, why each chapter was executed, and the seconds spent.
    """
    full, commit = catalogue.load_profile("full"), provenance.stamp()["commit"]
    parts = list(dict.fromkeys(map(_part, work))) or [""]  # chapters may read no part at all
    progress, stamps, shown, reasons = Progress(0, 0), {}, {}, {}
    seconds = {"cells": 0.0, "chapters": 0.0}
    with ThreadPoolExecutor(1) as previews:
        for number, part in enumerate(parts, 1):
            start = time.perf_counter()
            own = {name: tasks for name, tasks in work.items() if _part(name) == part}
            computed = catalogue.compute([task for tasks in own.values() for task in tasks], profile, store, jobs=jobs)
            progress += computed
            if part:
                print(f"cells of {part}: {computed}", flush=True)
            for name, tasks in own.items():
                table = catalogue.collect(name, profile, store, tasks)
                write(table, book / "_build" / "tables" / profile.name / f"{name}.json")
                stamps[name] = table.provenance
                keys = {task.cell: task.key for task in tasks}
                shown[name] = [
                    f"{panel} {keys[cell]}" for panel, one in profile.panels[name].items() for cell in one.cells
                ]
                # Pages also say how much of the full profile has been computed.
                shown[name] += [key for key in catalogue.keys(name, full) if key in store]
            seconds["cells"] += time.perf_counter() - start
            start = time.perf_counter()
            parameters, inputs = {}, {}
            for chapter, wanted in read.items():
                if chapter not in reasons and wanted <= set(parts[:number]):
                    others = {_part(name) for name in catalogue.tables} - wanted
                    kept = [setting for setting in shared["settings"] if re.split(r"[.=]", setting)[0] not in others]
                    parameters[chapter] = shared | {"settings": kept}
                    cells = [key for name in shown if _part(name) in wanted for key in shown[name]]
                    inputs[chapter] = {"cells": "\n".join(cells)}
            reasons |= runner.stage(book, parameters, inputs, commit=commit, jobs=jobs)
            seconds["chapters"] += time.perf_counter() - start
            ready = [chapter for chapter in parameters if chapter.startswith(f"{part}/")]
            if number < len(parts) and computed.computed and ready:  # who waits for cells may begin to read
                previews.submit(_preview, book, part, ready)
    return progress, stamps, reasons, seconds


def _preview(book: Path, part: str, chapters: Sequence[str]) -> None:
    """Says where a part can be read already; without it the build goes on, since the whole book follows."""
    try:
        page = runner.preview(book, part, chapters)
    except Exception as error:  # such as a full disk; nobody else would hear of it
        fault = _one_line(f"{type(error).__name__}: {error}")
        print(f"{part} cannot be read before the whole book is there ({fault})", flush=True)
        return
    if page:
        print(f"{part} can be read, while the rest is computed: {page.resolve()}", flush=True)


def _part(table: str) -> str:
    return table.split("/")[0]


def _covers(word: str, name: str) -> bool:
    return word == name or name.startswith(f"{word}/")


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit()):
        raise typer.BadParameter(f"shard: got {text!r}; accepted: i/n, such as 0/4")
    return int(index), int(count)
