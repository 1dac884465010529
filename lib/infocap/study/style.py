"""How does every figure of the book look?

One style: a white background that stays legible in dark themes, a palette that colour-blind readers can tell apart,
vector graphics, and a small line that names the profile.
"""

import hashlib
from collections.abc import Callable
from functools import wraps

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from pandas.io.formats.style import Styler

from infocap.study.tables import Table

__all__ = ["PALETTE", "RC", "WIDTH", "note", "show", "styled", "time_to_run", "vector_figures"]

PALETTE = sns.color_palette("colorblind")
WIDTH = 4.8  # inches; on a phone a figure shrinks to about three quarters of that

RC = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("notebook", font_scale=0.9),
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "axes.titlesize": "medium",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
}


def styled(draw: Callable[..., plt.Figure]) -> Callable[..., plt.Figure]:
    """Decorates a function that draws and returns a figure: it runs in the book's style."""

    @wraps(draw)
    def wrapper(*args, **options) -> plt.Figure:
        with plt.rc_context(RC):
            figure = draw(*args, **options)
            plt.close(figure)  # a notebook shows the returned figure once, not twice
            return figure

    return wrapper


def note(figure: plt.Figure, text: str) -> None:
    """Writes a small line below the figure: the profile, the number of runs, what a band is."""
    figure.supxlabel(text, fontsize="small", color="#555555", ha="right", x=0.99)


def vector_figures() -> None:
    """Makes notebooks show figures as SVG, sharp at every zoom, in the book's style; equal figures give equal files."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    plt.rcParams.update(RC)  # for what a cell draws with matplotlib itself
    plt.rcParams["svg.hashsalt"] = "infocap"
    set_matplotlib_formats("svg", metadata={"Date": None})


def show(frame: pd.DataFrame, digits: int = 3) -> Styler:
    """A table as the book prints it: no row numbers, whole sentences, a dash where there is no number."""
    name = hashlib.sha256(frame.to_json().encode()).hexdigest()[:8]  # several tables share a page
    marked = frame.style.hide(axis="index").format(precision=digits, na_rep="–").set_uuid(name)
    return marked.set_table_attributes('class="dataframe"')


def time_to_run(*tables: Table) -> str:
    """What a chapter costs whoever runs it, as Markdown: the seconds that its tables took, as their records say.

    Args:
        tables: The tables that the chapter reads, all of one profile.

    Example:
        >>> table = Table("toys", "quick", pd.DataFrame(), {"seconds": 90.0})
        >>> print(time_to_run(table))
        **Time to run.** 1.5 minutes on one core (profile `quick`), once. From stored results the page takes seconds.
    """
    seconds = sum(table.provenance["seconds"] for table in tables)
    amount = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
    profile = f"profile `{tables[0].profile}`"
    return f"**Time to run.** {amount} on one core ({profile}), once. From stored results the page takes seconds."
