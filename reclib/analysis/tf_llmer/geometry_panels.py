"""Tables of the geometry study in the columns that its figures and readers want."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reclib.analysis.tf_llmer.geometry_conditioning import MEASURES as CURVATURES
from reclib.analysis.tf_llmer.geometry_norms import RAW
from reclib.analysis.tf_llmer.geometry_rec_pca import MEASURES, OWN

_LONG = ["table", "series", "x", "measure", "value"]


def norm_columns(summary: pd.DataFrame) -> pd.DataFrame:
    """Norms, angles and condition numbers without the ends of intervals."""
    return summary.loc[:, ~summary.columns.str.endswith(("_low", "_high"))]


def distributions(lengths: pd.DataFrame) -> pd.DataFrame:
    """Rows for `figures.table_distributions`: a series a stage of a table."""
    return lengths.rename(columns={"stage": "series"})


def cosines(table: pd.DataFrame) -> pd.DataFrame:
    """Rows for `figures.table_distributions`: a series a kind of pairs, of the texts as they are."""
    rows = table[table["stage"] == RAW].rename(columns={"pairs": "series"})
    return rows[["table", "series", "low", "high", "share"]].reset_index(drop=True)


def cone_curves(cone: pd.DataFrame) -> pd.DataFrame:
    """Rows for `figures.formula_curves` of formula (4)."""
    rows = cone.rename(columns={"norm_cv": "x", "mean_cosine": "series"})
    return rows.assign(formula="(4)")[["formula", "x", "series", "measured", "predicted"]]


def cluster_curves(clusters: pd.DataFrame) -> pd.DataFrame:
    """Rows for `figures.formula_curves` of formula (5)."""
    rows = clusters.rename(columns={"n_clusters": "x", "within_cosine": "series"})
    rows = rows.assign(formula="(5)", x=rows["x"].astype(float))
    return rows[["formula", "x", "series", "measured", "predicted", "refined"]]


def by_start(differences: pd.DataFrame) -> pd.DataFrame:
    """Differences of the training loss, a row an epoch, the starts side by side."""
    return differences.pivot(index="epoch", columns="start", values=["difference", "low", "high"])


def against_loss(curves: pd.DataFrame) -> pd.DataFrame:
    """Rows for `figures.curvature_against_loss`."""
    keys = ["start", "normalised", "loss"]
    return curves.melt(id_vars=keys, value_vars=list(CURVATURES), var_name="measure", value_name="value")


def losses_by_epoch(curves: pd.DataFrame) -> pd.DataFrame:
    """Training loss, a row an epoch, a column a start, normalised or as it is."""
    how = curves["normalised"].map({True: "normalised", False: "as it is"})
    names = curves["start"].astype(str) + ", " + how
    table = curves.assign(name=names).pivot(index="epoch", columns="name", values="loss")
    return table[list(names.unique())].rename_axis(columns=None).reset_index()


def sweep_at(sweep: pd.DataFrame, d: int) -> pd.DataFrame:
    """Rows of the training graph at one width, the feasible ones."""
    rows = sweep[(sweep["d"] == d) & (sweep["graph"] == OWN) & sweep["kappa"].notna()]
    return rows.drop(columns=["graph", "d"]).reset_index(drop=True)


def over_weight(sweep: pd.DataFrame, d: int) -> pd.DataFrame:
    """Rows for `figures.projection_sweep` over λ at one width: a series a graph."""
    rows = sweep[(sweep["d"] == d) & sweep["kappa"].notna()]
    return _long(rows.rename(columns={"graph": "series", "weight": "x"}))


def over_width(sweep: pd.DataFrame) -> pd.DataFrame:
    """Rows for `figures.projection_sweep` over d: a series a λ that was tried at several d."""
    rows = sweep[(sweep["graph"] == OWN) & sweep["kappa"].notna()]
    n_widths = rows.groupby("weight")["d"].transform("nunique")
    rows = rows[n_widths == rows["d"].nunique()]
    return _long(rows.assign(series="λ = " + rows["weight"].map("{:g}".format), x=rows["d"].astype(float)))


def findings(found: list[dict[str, Any]]) -> pd.DataFrame:
    """What was found about statements, as people read it."""
    table = pd.DataFrame(found).drop(columns="spec")
    return table.assign(holds=table["holds"].map({True: "yes", False: "no"}))


def _long(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a measure, "overlap" with PCA among them."""
    long = rows.melt(
        id_vars=["table", "series", "x"],
        value_vars=[*MEASURES, "overlap"],
        var_name="measure",
        value_name="value",
    )
    return long[_LONG]
