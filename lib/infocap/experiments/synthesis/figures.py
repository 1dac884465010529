"""Images with what the measures say about them: drawn twice in book/synthesis/one_picture.ipynb."""

from matplotlib.figure import Figure

from infocap.experiments.synthesis import measures
from infocap.experiments.synthesis.results import FOUR, examples
from infocap.study import plots
from infocap.study.book import BookTable
from infocap.study.style import PALETTE, styled

__all__ = ["portraits"]

_SHORT = {"limit": "LIMIT", "f_si": "F-SI", "f_cmi": "f-CMI", "complexity": "complexity"}
_CLASSES = {2: "pullover", 4: "coat", 6: "shirt"}  # of Fashion-MNIST, as the panels use it


@styled
def portraits(table: BookTable, name: str = "clean", count: int = 5) -> Figure:
    """Images of the first supersample: high in all four measures, low in all, and on which they disagree most.

    Below each image its place in the ranking by each measure, from 0 (lowest) to 1 (highest).

    Args:
        table: Of ``synthesis/measures``.
        name: The panel.
        count: Images in a row.
    """
    frame = examples(table, table.panel(name).index[0])
    ranks = frame[list(FOUR)].rank(pct=True)
    spread = ranks.max(axis=1) - ranks.min(axis=1)
    chosen = {
        "high in all": ranks.min(axis=1).nlargest(count).index,
        "low in all": ranks.max(axis=1).nsmallest(count).index,
        "they disagree": spread.nlargest(count).index,
    }
    cell = table.cells(name)[0]
    images = measures.pictures(cell).flatten(0, 1).numpy()
    kinds = [cell.classes[label] for label in frame["label"]]
    figure = plots.figure(height=6.9)
    for part, (title, rows) in zip(figure.subfigures(3, 1), chosen.items(), strict=True):
        part.suptitle(title, fontsize="medium", fontweight="bold", ha="left", x=0.02)
        above, below = part.subplots(2, count, height_ratios=[2, 1.3])
        plots.images(above, images[rows], [_CLASSES.get(kinds[row], f"class {kinds[row]}") for row in rows], size=8)
        for column, (axes, row) in enumerate(zip(below, rows, strict=True)):
            axes.barh(range(len(FOUR)), ranks.loc[row], color=PALETTE[: len(FOUR)])
            axes.set(xlim=(0, 1), xticks=[0, 1], yticks=range(len(FOUR)))
            axes.set_yticklabels([_SHORT[key] for key in FOUR] if column == 0 else [], fontsize=7)
            axes.tick_params(labelsize=7, length=0)
            axes.invert_yaxis()
            axes.grid(False)
    return plots.note(figure, f"profile {table.profile}; {name} labels, one supersample of {len(frame)} images")
