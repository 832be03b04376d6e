"""Tables of TF-LLMER's comparison: training losses, differences to what it has to beat, and ablations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from reclib.analysis.sequence_cells import Cell
from reclib.analysis.sequence_tables import MAIN_K, PLACE, by_place, differences_table
from reclib.analysis.tf_llmer.arms import BASELINES, PCA, RANDOM, TF_LLMER
from reclib.analysis.tf_llmer.steps import TFLLMERBench
from reclib.artifacts import Artifact
from reclib.evaluation.metrics import METHOD
from reclib.schema import GROUP, METRIC

Trained = Mapping[Cell, Artifact]

LOSS = "cross_entropy"  # of recommendation, without what a method adds to it
LATE = 0.75  # of the epochs, after which a curve is late


def chosen_curves(trained: Trained, bench: TFLLMERBench) -> pd.DataFrame:
    """Training loss by epoch of each arm at the setting and the learning rate that validation chose.

    Of a method in stages the last one; epochs from 1, cross-entropy in nats a position, with dropout.
    Returns dataset, backbone, method, seed, learning_rate, epoch, value.
    """
    parts = []
    for cell, run in trained.items():
        curve = curve_of(run, run["summary"]["place"])
        names = {"dataset": bench.dataset(cell.data).name, "backbone": cell.backbone, METHOD: cell.label}
        rate = run["summary"]["learning_rate"]
        parts.append(curve.assign(**names, seed=cell.seed, learning_rate=rate))
    table = pd.concat(parts, ignore_index=True)
    return table[[*PLACE, METHOD, "seed", "learning_rate", "epoch", "value"]]


def curve_of(run: Artifact, place: int) -> pd.DataFrame:
    """Training loss of one try: epoch from 1, value. A first stage goes by another name and is left out."""
    rows = run["curves"]
    rows = rows[(rows["name"] == LOSS) & (rows["place"] == place)]
    return rows.assign(epoch=1 + np.arange(len(rows)))[["epoch", "value"]].reset_index(drop=True)


def curve_panels(curves: pd.DataFrame, *, backbone: str) -> pd.DataFrame:
    """Rows for `figures.loss_curves`: mean and range over the seeds, all epochs and the last quarter of them.

    A method's line ends with the first of its seeds that stops; the last quarter is of the epochs that all
    methods reach, as in `late_losses`. Panels carry the data set's name where there are several.
    """
    own = curves[curves["backbone"] == backbone]
    values = own.groupby(["dataset", METHOD, "epoch"], sort=False)["value"]
    table = values.agg(value="mean", low="min", high="max", n="size").reset_index()
    table = table[table["n"] == table.groupby(["dataset", METHOD])["n"].transform("max")]
    table.loc[table["n"] == 1, ["low", "high"]] = np.nan
    parts = []
    for dataset, rows in table.groupby("dataset", sort=False):
        name = f"{dataset}, " if table["dataset"].nunique() > 1 else ""
        last = rows.groupby(METHOD)["epoch"].max().min()
        late = rows[(rows["epoch"] > LATE * last) & (rows["epoch"] <= last)]
        until = "" if last == rows["epoch"].max() else f" of the first {last}"
        parts += [rows.assign(panel=f"{name}all epochs"), late.assign(panel=f"{name}the last quarter{until}")]
    return pd.concat(parts, ignore_index=True)[["panel", METHOD, "epoch", "value", "low", "high"]]


def late_losses(curves: pd.DataFrame, *, reference: str = RANDOM) -> pd.DataFrame:
    """Training loss of each arm minus the reference's at equal epochs, over the last quarter of them.

    Until the last epoch that all arms of a place reach. low, high: the lowest and the highest seed where
    there are several, else the lowest and the highest of those epochs.
    Returns dataset, backbone, method, reference, epoch (the last), value (there), difference (mean), low,
    high, above (share of the epochs and seeds at which the arm is above).
    """
    rows = []
    for (dataset, backbone), place in curves.groupby(PLACE, sort=False):
        last = int(place.groupby([METHOD, "seed"])["epoch"].max().min())
        late = place[(place["epoch"] > LATE * last) & (place["epoch"] <= last)]
        values = late.pivot_table(index=["seed", "epoch"], columns=METHOD, values="value", sort=False)
        for method in (name for name in place[METHOD].unique() if name != reference):
            gaps = values[method] - values[reference]
            by_seed = gaps.groupby("seed").mean()
            ends = by_seed if len(by_seed) > 1 else gaps
            at_end = values[method].xs(last, level="epoch").mean()
            found = (at_end, gaps.mean(), ends.min(), ends.max(), (gaps > 0).mean())
            rows.append((dataset, backbone, method, reference, last, *found))
    columns = [*PLACE, METHOD, "reference", "epoch", "value", "difference", "low", "high", "above"]
    return pd.DataFrame(rows, columns=columns)


def loss_at_equal_rates(
    trained: Trained, bench: TFLLMERBench, *, reference: str, methods: Sequence[str] | None = None
) -> pd.DataFrame:
    """Training loss minus the reference's at the last common epoch, at the same learning rate.

    Of an arm its best setting on validation at that rate, of the reference its first setting: the same scale.
    Returns dataset, backbone, method, reference, learning_rate, is_chosen (whether validation chose that
    rate for the arm), epoch, value, difference. Of the seed that tuning was done with.
    """
    rows = []
    seed = bench.settings.seeds[0]
    first = {cell: run for cell, run in trained.items() if cell.seed == seed}
    for (data, backbone), arms in by_place(first):
        theirs = arms[reference][0]
        for label in methods or arms:
            if label == reference or label not in arms:
                continue
            for rate, own in arms[label][0]["tried"].groupby("learning_rate", sort=False):
                best = own.loc[own["ndcg"].idxmax()]
                other = theirs["tried"].query("learning_rate == @rate")["place"].iloc[0]
                both = curve_of(arms[label][0], best["place"]).merge(curve_of(theirs, other), on="epoch")
                end = both.iloc[-1]
                names = (bench.dataset(data).name, backbone, label, reference, rate, bool(best["is_chosen"]))
                rows.append((*names, int(end["epoch"]), end["value_x"], end["value_x"] - end["value_y"]))
    columns = [*PLACE, METHOD, "reference", "learning_rate", "is_chosen", "epoch", "value", "difference"]
    return pd.DataFrame(rows, columns=columns)


def rivals(trained: Trained, bench: TFLLMERBench) -> pd.DataFrame:
    """The baseline with the best NDCG@10 on validation, mean over the seeds, of each place.

    Returns dataset, backbone, method, valid_ndcg.
    """
    rows = []
    for (data, backbone), arms in by_place(trained):
        scores = {
            label: float(np.mean([run["summary"]["valid_ndcg"] for run in arms[label]]))
            for label in BASELINES
            if label in arms
        }
        best = max(scores, key=lambda label: scores[label])
        rows.append((bench.dataset(data).name, backbone, best, scores[best]))
    return pd.DataFrame(rows, columns=[*PLACE, METHOD, "valid_ndcg"])


def against(trained: Trained, bench: TFLLMERBench) -> pd.DataFrame:
    """TF-LLMER minus random init, minus PCA init with its tuned rate, and minus the best baseline.

    The best baseline is that of `rivals`. Rows like `differences_table`, with `role` before them: "random",
    "pca" or "best baseline".
    """
    parts = []
    chosen = rivals(trained, bench).set_index(PLACE)[METHOD]
    for data, backbone in bench.places():
        place = {cell: run for cell, run in trained.items() if (cell.data, cell.backbone) == (data, backbone)}
        best = chosen[bench.dataset(data).name, backbone]
        for role, reference in ((RANDOM, RANDOM), (PCA, PCA), ("best baseline", best)):
            table = differences_table(place, bench, reference=reference, methods=[TF_LLMER])
            table.insert(0, "role", role)
            parts.append(table)
    return pd.concat(parts, ignore_index=True)


def norm_effect(trained: Trained, bench: TFLLMERBench, pairs: Mapping[str, str]) -> pd.DataFrame:
    """Each arm with normalisation minus the same without, both at their own best rate: a paired difference.

    pairs: label with normalisation → label without. Rows like `differences_table`.
    """
    parts = [
        differences_table(trained, bench, reference=without, methods=[label])
        for label, without in pairs.items()
    ]
    return pd.concat(parts, ignore_index=True)


def difference_panels(differences: pd.DataFrame, *, groups: Sequence[str]) -> pd.DataFrame:
    """Rows for `figures.comparison_grid`: differences in NDCG@10, one panel a place and group of targets."""
    rows = differences[(differences[METRIC] == "NDCG") & differences[GROUP].isin(list(groups))]
    order = {group: place for place, group in enumerate(groups)}
    rows = rows.assign(
        value=rows["difference"],
        metric=f"change in NDCG@{MAIN_K}",
        k=pd.array([pd.NA] * len(rows), dtype="Int64"),
        place=rows.groupby(PLACE, sort=False).ngroup(),
        order=rows[GROUP].map(order),
    ).sort_values(["place", "order"], kind="stable")
    columns = [*PLACE, METHOD, METRIC, "k", GROUP, "value", "low", "high", "n"]
    return rows[columns].reset_index(drop=True)
