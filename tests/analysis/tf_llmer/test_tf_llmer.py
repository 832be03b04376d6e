"""The comparison of TF-LLMER: arms tuned on validation, curves at equal epochs, statements by their rules."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib import config
from reclib.analysis import sequence_tables
from reclib.analysis.sequence_cells import Cell
from reclib.analysis.tf_llmer import statements as tf_llmer_statements
from reclib.analysis.tf_llmer import tables
from reclib.analysis.tf_llmer.steps import CURVE, TRIED, ArmConfig, TFLLMERBench, Try, arm_step, tuning_table
from reclib.artifacts import Artifact
from reclib.config import BackboneConfig, DataConfig
from reclib.registry import statements
from reclib.training.methods import METHODS

PROFILE = config.override(
    config.SMOKE,
    **{
        "sequence.data.synthetic.n_users": 80,
        "sequence.data.synthetic.n_items": 40,
        "sequence.evaluation.bootstrap": 50,
        "tf_llmer.backbone.n_layers": 1,
        "tf_llmer.learning_rates": (1e-2, 1e-9),
        "tf_llmer.seeds": (0, 1),
    },
)
DATA = DataConfig(source="made")


@lru_cache
def bench() -> TFLLMERBench:
    return TFLLMERBench(PROFILE)


@lru_cache
def trained() -> dict[Cell, Artifact]:
    return bench().arms(["random", "pca", "pca_norm", "rec_pca", "tf_llmer"])


def run_of(label: str, seed: int = 0) -> Artifact:
    return next(run for cell, run in trained().items() if (cell.label, cell.seed) == (label, seed))


def test_the_first_seed_tries_every_rate_and_the_others_train_what_it_chose() -> None:
    table = tuning_table(trained(), bench())
    assert table.groupby("method").size().unique().tolist() == [2]
    assert table.groupby("method")["is_chosen"].sum().unique().tolist() == [1]
    for label in ("random", "tf_llmer"):
        first, second = run_of(label), run_of(label, 1)
        tried = first["tried"]
        best = tried.loc[tried["ndcg"].idxmax()]
        assert first["summary"]["learning_rate"] == best["learning_rate"]
        assert first["summary"]["valid_ndcg"] == best["ndcg"] == tried["ndcg"].max()
        assert second["tried"]["learning_rate"].tolist() == [best["learning_rate"]]
        assert second["tried"]["options"].tolist() == [best["options"]]


def test_the_test_ranks_are_those_of_the_chosen_try() -> None:
    run, dataset = run_of("tf_llmer"), bench().dataset(bench().places()[0][0])
    assert run["windows"]["target_idx"].tolist() == dataset.test.target_idx.tolist()
    assert run["windows"]["rank"].dropna().between(1, 20).all()
    moved = run["curves"].query("name == 'cross_entropy'").groupby("place")["value"].agg(np.ptp)
    assert moved[1] < 0.05 < moved[0]  # at a rate of 1e-9 nothing is learned; 0.05 is dropout
    assert run["summary"]["place"] == 0


def test_a_killed_arm_goes_on_with_the_tries_that_are_left(tmp_path: Any) -> None:
    data = bench().places()[0][0]
    tried = tuple(Try(options=METHODS["random_init"].options(), learning_rate=rate) for rate in (1e-2, 1e-3))
    own = ArmConfig(
        data=data,
        backbone=BackboneConfig(name="gru4rec", d_model=8, n_layers=1),
        train=PROFILE.tf_llmer.train,
        method="random_init",
        tried=tried,
        cutoff=20,
    )
    straight = arm_step(own, seed=0, workdir=tmp_path, bench=bench())
    done = tmp_path / "tried_0.json"
    done.write_text(
        done.read_text("utf-8").replace('"ndcg": ', '"ndcg": 9'), "utf-8"
    )  # would not survive a rerun
    (tmp_path / "tried_1.json").unlink()
    again = arm_step(own, seed=0, workdir=tmp_path, bench=bench())
    assert again["tried"]["ndcg"][0] > 1
    assert again["tried"]["ndcg"][1] == straight["tried"]["ndcg"][1]
    assert not list(tmp_path.rglob("*.safetensors"))


def test_texts_are_pooled_as_the_settings_say() -> None:
    data = bench().places()[0][0]
    last = TFLLMERBench(config.override(PROFILE, **{"tf_llmer.pooling": "last_token"}))
    of_mean, of_last = (each.text(data)[1].matrix for each in (bench(), last))
    assert of_mean.shape == of_last.shape
    assert not of_last[0].any()
    assert np.abs(of_mean - of_last)[1:].max(axis=1).min() > 1e-3
    assert last.setup(data, last.settings.backbone, last.settings.train, "tf_llmer").text.matrix is of_last


def test_tables_of_the_arms() -> None:
    effect = tables.norm_effect(trained(), bench(), {"pca_norm": "pca", "tf_llmer": "rec_pca"})
    assert set(zip(effect["method"], effect["reference"], strict=True)) == {
        ("pca_norm", "pca"),
        ("tf_llmer", "rec_pca"),
    }
    against = tables.against(trained(), bench())
    scores = {
        label: np.mean([run_of(label, seed)["summary"]["valid_ndcg"] for seed in (0, 1)])
        for label in ("random", "pca")
    }
    best = against.loc[against["role"] == "best baseline", "reference"].unique().tolist()
    assert best == [max(scores, key=lambda label: scores[label])]  # pca_norm is no baseline
    assert set(against["method"]) == {"tf_llmer"}
    panels = tables.difference_panels(effect, groups=("all", "tail"))
    assert panels["group"].drop_duplicates().tolist() == ["all", "tail"]
    assert sequence_tables.comparison_table(trained(), bench())["method"].nunique() == 6


# Made arms, whose tables have known answers


def made_arm(losses: dict[float, list[float]], ndcg: dict[float, float], *, stages: bool = False) -> Any:
    """An artifact with a loss curve and a validation score for each learning rate."""
    rates = list(losses)
    best = int(np.argmax([ndcg[rate] for rate in rates]))
    tried = [(p, "", rate, ndcg[rate], p == best, 0, 1.0, 1) for p, rate in enumerate(rates)]
    first = 3 if stages else 0
    curves = [
        (p, first + epoch, "cross_entropy", value)
        for p, rate in enumerate(rates)
        for epoch, value in enumerate(losses[rate])
    ]
    curves += [(p, 0, "collaborative cross_entropy", 99.0) for p in range(len(rates)) if stages]
    return {
        "tried": pd.DataFrame(tried, columns=TRIED),
        "curves": pd.DataFrame(curves, columns=CURVE),
        "summary": {"place": best, "learning_rate": rates[best], "valid_ndcg": ndcg[rates[best]]},
    }


class MadeBench:
    """The part of a bench that the tables of curves read."""

    settings = PROFILE.tf_llmer

    def dataset(self, data: DataConfig) -> DataConfig:
        return data

    def cell(self, label: str, seed: int = 0) -> Cell:
        return Cell(data=DATA, backbone="gru4rec", method="", label=label, seed=seed)


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataConfig, "name", property(lambda data: data.source), raising=False)


def arms(
    curves: dict[str, list[float]], *, seed: int = 0, shift: float = 0.0, **made: bool
) -> dict[Cell, Any]:
    return {
        MadeBench().cell(label, seed): made_arm({0.1: [v + shift for v in values]}, {0.1: 0.5}, **made)
        for label, values in curves.items()
    }


def test_curves_are_compared_at_equal_epochs_late_in_training() -> None:
    runs = arms({"random": [9, 6, 5, 4, 3, 3, 3, 3, 0]}) | arms(
        {"llmemb": [8, 7, 6, 5, 5, 5, 4, 5]}, stages=True
    )
    late = tables.late_losses(tables.chosen_curves(runs, MadeBench()))  # type: ignore[arg-type]
    row = late.iloc[0]
    assert (row["method"], row["epoch"], row["value"]) == ("llmemb", 8, 5)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((1.5, 1, 2))  # epochs 7 and 8
    assert row["above"] == 1


def test_with_several_seeds_the_ends_are_those_of_seeds() -> None:
    base, text = {"random": [4.0] * 4}, {"llminit": [5.0] * 4}
    runs = arms(base) | arms(base, seed=1) | arms(text) | arms(text, seed=1, shift=-2.0)
    curves = tables.chosen_curves(runs, MadeBench())  # type: ignore[arg-type]
    row = tables.late_losses(curves).iloc[0]
    assert (row["difference"], row["low"], row["high"], row["above"]) == (0, -1, 1, 0.5)
    shown = tables.curve_panels(curves, backbone="gru4rec").query("method == 'llminit'")
    assert shown[["value", "low", "high"]].drop_duplicates().to_numpy().tolist() == [[4.0, 3.0, 5.0]]
    assert shown.groupby("panel")["epoch"].agg(list).to_dict() == {
        "all epochs": [1, 2, 3, 4],
        "the last quarter": [4],
    }


def test_curves_that_stop_early_are_drawn_where_all_are() -> None:
    runs = arms({"random": [4.0] * 4, "llminit": [5.0] * 9}) | arms({"random": [2.0] * 6}, seed=1)
    runs |= arms({"llminit": [5.0] * 8}, seed=1)
    shown = tables.curve_panels(tables.chosen_curves(runs, MadeBench()), backbone="gru4rec")  # type: ignore[arg-type]
    assert shown.groupby(["panel", "method"])["epoch"].max().to_dict() == {
        ("all epochs", "random"): 4,
        ("all epochs", "llminit"): 8,
        ("the last quarter of the first 4", "random"): 4,
        ("the last quarter of the first 4", "llminit"): 4,
    }
    assert shown["low"].notna().all(), "both seeds everywhere"


@pytest.mark.parametrize(("n_above", "holds"), [(2, False), (3, True)])
def test_the_barrier_needs_three_of_four(n_above: int, holds: bool) -> None:
    labels = ("llminit", "llm_esr", "llmemb", "frozen_adapter")
    curves = {label: [5.0 if at < n_above else 3.0] * 4 for at, label in enumerate(labels)}
    runs = arms({"random": [4.0] * 4, "tf_llmer": [1.0] * 4} | curves)
    late = tables.late_losses(tables.chosen_curves(runs, MadeBench()))  # type: ignore[arg-type]
    (found,) = tf_llmer_statements.barrier_statement(late)
    assert (found["holds"], found["value"]) == (holds, 1.0 if holds else -1.0)


@pytest.mark.parametrize(("placebo", "holds"), [(3.9, True), (3.1, False)])
def test_a_placebo_may_keep_half_of_the_gain(placebo: float, holds: bool) -> None:
    made = {
        "pca_norm": made_arm({0.1: [5, 4], 0.2: [5, 9]}, {0.1: 0.1, 0.2: 0.3}),
        "tf_llmer": made_arm({0.1: [5, 3], 0.2: [5, 1]}, {0.1: 0.2, 0.2: 0.1}),
        "shuffled_graph": made_arm({0.1: [5, placebo], 0.2: [5, 9]}, {0.1: 0.2, 0.2: 0.1}),
    }
    runs = {MadeBench().cell(label): run for label, run in made.items()}
    gaps = tables.loss_at_equal_rates(runs, MadeBench(), reference="pca_norm")  # type: ignore[arg-type]
    chosen = gaps[gaps["is_chosen"]].set_index("method")["difference"]
    assert chosen["tf_llmer"] == pytest.approx(-1)
    row = ("made", "gru4rec", "shuffled_graph", "tf_llmer", "NDCG", 10, "all", -0.01, -0.02, 0.01)
    columns = [
        "dataset",
        "backbone",
        "method",
        "reference",
        "metric",
        "k",
        "group",
        "difference",
        "low",
        "high",
    ]
    differences = pd.DataFrame([row], columns=columns)
    (found,) = tf_llmer_statements.placebo_statement(gaps, differences)
    assert found["holds"] is holds
    assert found["value"] == pytest.approx(placebo - 3)
    (faster,) = tf_llmer_statements.faster_statement(gaps)
    assert faster["holds"]
    assert (faster["value"], faster["low"], faster["high"]) == pytest.approx((-1, -8, -1))
    slower_elsewhere = gaps.assign(difference=gaps["difference"].where(gaps["learning_rate"] == 0.1, 0.5))
    assert not tf_llmer_statements.faster_statement(slower_elsewhere)[0]["holds"]
    assert not tf_llmer_statements.placebo_statement(slower_elsewhere, differences)[0]["holds"]


def differences(values: dict[str, tuple[float, float]], *, by: str, **names: Any) -> pd.DataFrame:
    rows = [
        {"dataset": "made", "backbone": "gru4rec", "metric": "NDCG", "group": "all", **names}
        | {by: label, "difference": (low + high) / 2, "low": low, "high": high}
        for label, (low, high) in values.items()
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("high", "holds"), [(-0.001, True), (0.001, False)])
def test_both_parts_matter_if_both_intervals_say_so(high: float, holds: bool) -> None:
    table = differences(
        {"pca_norm": (-0.02, -0.01), "rec_pca": (-0.02, high)}, by="method", reference="tf_llmer"
    )
    (found,) = tf_llmer_statements.both_parts_statement(table)
    assert (found["holds"], found["high"]) == (holds, high)


@pytest.mark.parametrize(("low", "holds"), [(0.001, True), (-0.001, False)])
def test_the_baselines_are_beaten_if_both_intervals_say_so(low: float, holds: bool) -> None:
    table = differences({"pca": (0.01, 0.02), "llmemb": (low, 0.03)}, by="reference", method="tf_llmer")
    random = differences({"random": (-1.0, 1.0)}, by="reference", method="tf_llmer", role="random")
    table = pd.concat([table.assign(role=["pca", "best baseline"]), random])
    (found,) = tf_llmer_statements.baselines_statement(table)
    assert (found["holds"], found["low"]) == (holds, low)
    listed = statements().query("spec == 'tf_llmer'")["number"].tolist()
    assert found["number"] in listed
    assert len(listed) == 11
