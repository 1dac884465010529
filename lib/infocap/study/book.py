"""How does a chapter reach its tables, its verdicts and the code behind them?

One object leads to everything: ``Book`` reads tables of a catalogue, decides claims, and says with what all of this was
computed. A table of the book runs a reader's own method, network or data set beside the book's, on the same data, noise
and seeds. What it computes that way is shown and forgotten: the store never sees it.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import joblib
import pandas as pd
from pandas.io.formats.style import Styler
from pydantic import TypeAdapter, ValidationError

from infocap.study import claims as rules
from infocap.study import provenance, scorecard, stored, style
from infocap.study.catalogue import Catalogue
from infocap.study.profiles import Panel
from infocap.study.store import Record, Store
from infocap.study.sweep import SweepError, Task, measured
from infocap.study.tables import NotRun, Table, read

__all__ = ["Book", "BookTable"]


@dataclass(frozen=True)
class BookTable(Table):
    """A table that knows what measures it; see ``infocap.study.tables.Table``.

    Attributes:
        module: Has ``Cell``, ``measure`` and, where readers may bring their own, ``OWN``: for each of ``method``,
            ``network`` and ``data`` that they may bring the cell's field, and the registry of the book's, whose
            ``lent(name, thing)`` adds one for a while.
        recipes: The panels of the profile with their cells.
    """

    module: ModuleType | None = None
    recipes: Mapping[str, Panel] = field(default_factory=dict)

    def cells(self, panel: str) -> tuple[Any, ...]:
        """The cells of a panel: settings to take a run from, as ``training.cells("main")[0]``.

        Raises:
            NotRun: The profile lacks the panel.
        """
        if panel not in self.recipes or not self.recipes[panel].cells:
            raise NotRun(f"panel {panel}: not in this profile; accepted: {', '.join(self.recipes)}")
        return self.recipes[panel].cells

    def also(
        self,
        method: Callable | str | None = None,
        panel: str = "main",
        *,
        network: Callable | None = None,
        data: Any = None,
        jobs: int | None = None,
        **changes: Any,
    ) -> pd.DataFrame:
        """Measures a reader's own method, network or data set on the data, noise and seeds of a panel.

        Cells run in parallel, as those of the book; a line says how many, for how long, and that they are not stored.

        Args:
            method: A function with the signature of the table's methods, or the name of one of the book's.
            panel: Whose data, noise and seeds.
            network: A function ``(image, outputs) -> torch.nn.Module``; ``image`` is ``(channels, height, width)``.
            data: A data set of ``infocap.data``: a ``Dataset``, a name such as ``folder:my-images``, or a path.
            jobs: Worker processes; ``None`` means one per physical core.
            **changes: Other fields of the cell, such as ``epochs=5``.

        Returns:
            Rows with the columns of ``frame``. A function's name stands where the book's names stand.

        Raises:
            NotRun: The profile lacks the panel.
            TypeError: The table takes no such thing, or the cell has no such field.
            ValueError: The name of the own function is one of the book's, or a field does not accept its value.
            SweepError: A run failed; the message holds its last lines.
        """
        return self.also_table(method, panel, network=network, data=data, jobs=jobs, **changes).frame

    def also_table(
        self,
        method: Callable | str | None = None,
        panel: str = "main",
        *,
        network: Callable | None = None,
        data: Any = None,
        jobs: int | None = None,
        **changes: Any,
    ) -> Table:
        """As ``also``, whose rows it returns as a table with arrays: what functions of tables read, panel by panel."""
        if method is network is data is None and not changes:
            raise TypeError("also: got nothing of yours; accepted: a method, network, data, or fields of the cell")
        cells, lent, names = self.cells(panel), [], []
        for kind, thing in {"method": method, "network": network, "data": data}.items():
            if thing is None:
                continue
            target, registry = self._own(kind)
            name, own = _named(thing, kind, registry)
            if own is not None:
                lent.append((registry, name, own))
            if kind == "method":
                cells = self._with_method(cells, panel, target, name, own is not None)
            else:
                several = isinstance(getattr(cells[0], target), tuple)
                cells = tuple(replace(cell, **{target: (name,) if several else name}) for cell in cells)
            names.append(name)
        changes = {name: self._checked(name, value) for name, value in changes.items()}
        work = list(dict.fromkeys(replace(cell, **changes) for cell in cells))
        start = time.perf_counter()
        jobs = min(len(work), jobs or joblib.cpu_count(only_physical_cores=True))
        run = joblib.Parallel(n_jobs=jobs)
        tasks, here = (Task(self.name, cell, "") for cell in work), os.getcwd()
        rows = run(joblib.delayed(_measured)(self.module.measure, task, lent, here) for task in tasks)
        what = " with ".join(names) or "the panel, changed"
        for row in rows:
            if not isinstance(row, Record):
                raise SweepError(f"{what} on panel {panel}:\n{row}")
        cost = f"{len(work)} cell{'s' if len(work) > 1 else ''}, {time.perf_counter() - start:.0f} s"
        print(f"{what} on panel {panel}: {cost}; computed here, not stored")
        frame = pd.DataFrame([row.fields | row.result for row in rows])
        return Table(self.name, self.profile, frame, {}, [row.arrays for row in rows], {panel: range(len(rows))})

    def _checked(self, name: str, value: Any) -> Any:
        """The value of a field, as the field's annotation accepts it."""
        hints = get_type_hints(self.module.Cell, include_extras=True)
        if name not in hints:
            raise TypeError(f"{name}: no field of a cell of {self.name}; accepted: {', '.join(sorted(hints))}")
        plain = value.item() if getattr(value, "ndim", None) == 0 else value  # numpy's and torch's numbers
        try:
            return TypeAdapter(hints[name]).validate_python(plain)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"{name}: got {value!r}; {message[0].lower()}{message[1:]}") from None

    def _own(self, kind: str) -> tuple[str, Any]:
        accepted = getattr(self.module, "OWN", {})
        if kind not in accepted:
            raise TypeError(f"{kind}: the table {self.name} takes none; accepted: {', '.join(accepted) or 'nothing'}")
        return accepted[kind]

    def _with_method(self, cells: tuple, panel: str, target: str, name: str, own: bool) -> tuple:
        """The panel's cells with this method: its own variants if it is the book's, else one without options."""
        several = isinstance(getattr(cells[0], target), tuple)
        if not own:
            held = [
                cell for cell in cells if (name in getattr(cell, target) if several else getattr(cell, target) == name)
            ]
            if held:
                return tuple(replace(cell, **{target: (name,)}) for cell in held) if several else tuple(held)
        if several:  # options are those of tasks, not of a method
            return tuple(replace(cell, **{target: (name,)}) for cell in cells)
        plain = {one.name: one.default for one in fields(self.module.Cell) if one.default is not MISSING}
        options = {name: plain[name] for name in self.recipes[panel].options if name in plain}
        return tuple(replace(cell, **options | {target: name}) for cell in cells)

    @property
    def origin(self) -> str:
        """Where a stored table comes from, as one sentence in Markdown."""
        return provenance.origin(self)


def _named(thing: Any, kind: str, registry: Any) -> tuple[str, Any]:
    """The name under which a cell knows something, and what to lend to the workers if it is not the book's."""
    if kind == "data":
        thing = f"folder:{thing}" if isinstance(thing, os.PathLike) else thing
        return (thing, None) if isinstance(thing, str) else ("own data", thing)
    if isinstance(thing, str):
        return registry[thing].name, None
    for name in registry:
        entry = registry[name]
        if entry.function is thing:
            return name, entry if thing.__module__ == "__main__" else None
    name = getattr(thing, "__name__", "<lambda>")
    name = f"own {kind}" if name == "<lambda>" else name  # which a browser would take for a tag
    if name in registry:
        raise ValueError(f"{kind}: the name {name!r} is one of the book's; accepted: another name")
    return name, thing


def _measured(
    measure: Callable[[Any], dict], task: Task, lent: Sequence[tuple[Any, str, Any]], folder: str
) -> Record | str:
    with contextlib.ExitStack() as stack:
        if os.path.isdir(folder):  # a worker began where the reader may no longer be; on a cluster it is elsewhere
            stack.enter_context(contextlib.chdir(folder))
        for registry, name, thing in lent:
            stack.enter_context(registry.lent(name, thing))
        return measured(measure, task)[1]


class Book:
    """The tables, claims and stored results of a catalogue, as one chapter reads them.

    Args:
        catalogue: What there is.
        profile: Name of the profile.
        settings: Changes of it, as ``["noisy_labels.main.epochs=20"]``.
        store: Folder of finished cells; ``None`` is the user's cache.
        results: Folder of stored tables; ``None`` is that of the checkout.

    Raises:
        ProfileError: The profile or a setting cannot be used; names the key and what is accepted.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        profile: str = "quick",
        settings: Sequence[str] = (),
        store: str | Path | None = None,
        *,
        results: str | Path | None = None,
    ):
        self.catalogue = catalogue if results is None else replace(catalogue, results=Path(results))
        self.profile = self.catalogue.load_profile(profile, settings)
        self.store = Store(store)
        self._tables: dict[str, BookTable] = {}
        self._decided: dict[str, pd.DataFrame] = {}
        if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
            style.vector_figures()

    def table(self, name: str) -> BookTable:
        """A table: cells that the store holds are read, the others are computed first, if the profile computes.

        Args:
            name: Such as ``noisy_labels/training``.

        Raises:
            ValueError: There is no such table.
            SweepError: Some cells failed.

        Cost: in ``quick`` minutes on two cores for the first call, then under a second.
        """
        if name not in self.catalogue.tables:
            raise ValueError(f"name: no table {name!r}; accepted: {', '.join(self.catalogue.tables)}")
        if name not in self._tables:
            work = self.catalogue.work(name, self.profile)
            if self.profile.computes:
                self.catalogue.compute(work, self.profile, self.store)
            self._tables[name] = self._of(name, self.catalogue.collect(name, self.profile, self.store, work))
        return self._tables[name]

    def stored(self, name: str, profile: str = "full") -> BookTable:
        """What the book keeps of a table's run in another profile; some rows hold only what figures draw.

        Raises:
            ValueError: Nothing is kept of it, or the folder of results is not at hand; says what helps.
        """
        path = None if self.catalogue.results is None else stored.file_of(self.catalogue.results / profile, name)
        if path is None or not path.exists():
            where = f"{path}: no such file" if path else "no stored results beside the library"
            raise ValueError(
                f"results: {where}; accepted: Book(..., results=FOLDER), the folder book/results of the project's "
                "checkout or of a release's source archive, https://github.com/infocap-book/infocap/releases"
            )
        arrays = stored.read_arrays(path)
        table = read(path)
        return self._of(name, replace(table, arrays=[arrays.get(row, {}) for row in range(len(table.frame))]), {})

    def _of(self, name: str, table: Table, recipes: Mapping[str, Panel] | None = None) -> BookTable:
        recipes = self.profile.panels[name] if recipes is None else recipes
        return BookTable(**vars(table), module=self.catalogue.tables.get(name), recipes=recipes)

    def verdicts(self, part: str | None = None, names: Sequence[str] = ()) -> pd.DataFrame:
        """The claims and what decides them.

        Args:
            part: Such as ``noisy_labels``; ``None`` for all.
            names: Only these, such as ``fano-toys``.

        Returns:
            As ``infocap.study.scorecard.with_stored``.
        """
        chosen = [
            claim
            for claim in self.catalogue.claims
            if part in (None, claim.table.split("/")[0]) and (not names or claim.name.split("/")[1] in names)
        ]
        if not chosen:
            parts = dict.fromkeys(claim.table.split("/")[0] for claim in self.catalogue.claims)
            raise ValueError(f"part: no claims of {part!r}, {list(names)}; accepted parts: {', '.join(parts)}")
        for claim in chosen:  # once: a rule may look at thousands of bounds
            if claim.name not in self._decided:
                self._decided[claim.name] = rules.scorecard([claim], {claim.table: self.table(claim.table)})
        rows = pd.concat([self._decided[claim.name] for claim in chosen], ignore_index=True)
        folder = self.catalogue.results
        return scorecard.with_stored(rows, folder and folder / "full" / "scorecard.json")

    def show_verdicts(self, part: str, names: Sequence[str] = ()) -> Styler:
        """The same, as a chapter prints them."""
        return style.show(scorecard.beside(self.verdicts(part, names)))

    def time_to_run(self) -> str:
        """What the tables cost that were read so far, as Markdown."""
        return style.time_to_run(*self._tables.values())

    def provenance(self) -> str:
        """With what the tables were computed that were read so far: the last lines of a chapter."""
        return provenance.describe(*self._tables.values())
