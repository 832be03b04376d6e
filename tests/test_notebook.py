"""What a notebook gets from `start`: settings, cached steps, figures in the right place, and a record."""

from __future__ import annotations

import contextlib
import gc
import json
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reclib import artifacts, files, notebook, notebook_files, paths, registry
from reclib.plotting import style
from reclib.schema import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "figures_dir", lambda: tmp_path / "figures")
    return tmp_path / "cache"


class Step:
    """A step that counts how often it is computed."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, config: Any, *, seed: int, workdir: Path) -> Mapping[str, Any]:
        self.n_calls += 1
        return {"numbers": pd.DataFrame({"seed": [seed], "config": [config["a"]]})}


def begin(name: str = "12_a", profile: str = "smoke", **options: Any) -> notebook.Run:
    return notebook.start(name, profile=profile, **options)


def draw(run: notebook.Run, name: str) -> None:
    table = pd.DataFrame({"x": [1, 2], "y": [3.0, 4.0]})
    fig, ax = style.subplots()
    ax.plot(table["x"], table["y"])
    run.save_figure(fig, name, table, "Two points.")


def test_modules_are_kept_from_the_garbage_collector_once_and_results_are_not() -> None:
    begin()
    kept = gc.get_freeze_count()
    assert kept > 0
    cycle: list[Any] = [Step()]
    cycle.append(cycle)
    gone = weakref.ref(cycle[0])
    begin()
    del cycle
    gc.collect()
    assert gc.get_freeze_count() <= kept
    assert gone() is None


def test_start_says_in_one_line_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(seed=3)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "12_a · profile smoke · seed 3 · " in said
    assert "threads" in said
    assert "torch 2" in said
    assert run.profile.name == "smoke"


def test_an_unknown_profile_or_setting_is_refused() -> None:
    with pytest.raises(InputError, match="smok"):
        begin(profile="smok")
    with pytest.raises(InputError, match="learning"):
        begin(overrides={"tune.learning_rat": 1.0})


def test_overrides_change_single_settings() -> None:
    assert begin(overrides={"tune.learning_rate": 0.5}).profile.tune.learning_rate == 0.5


def test_a_changed_profile_is_not_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(notebook_files.OVERRIDES, '{"tune.epochs": 2}')
    run = begin(profile="paper")
    assert run.profile.tune.epochs == 2
    assert run.label == "custom"
    assert run.provenance()["profile"] == "custom"
    assert run.provenance()["changed"] == {"profile": "paper", "tune.epochs": 2}
    assert run.folder == notebook_files.figures_dir("default") / "custom"
    assert begin(profile="smoke").label == "smoke", "smoke proves nothing, changed or not"


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"data.source": "msl_book"}, "custom/msl_book"),
        ({"data.source": "/somewhere/my data"}, "custom/my_data"),
        ({"traditional.sources": ["msl_book", "msl_toy"], "tune.epochs": 2}, "custom/msl_book_msl_toy"),
        ({"tune.epochs": 2}, "custom"),
    ],
)
def test_results_of_other_data_stand_beside_those_of_the_profiles_own(
    changed: dict, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "figures_dir", lambda: tmp_path)
    run = begin(profile="paper", overrides=changed)
    assert (run.label, run.place, run.folder) == ("custom", place, tmp_path / place)
    run.record_statements([{"spec": "msl", "number": "2", "dataset": "some", "holds": "yes"}])
    assert (tmp_path / "tables" / "results" / place / f"{run.name}.statements.csv").is_file()
    assert begin(profile="smoke", overrides=changed).place == "smoke"


def test_a_step_is_computed_once_and_then_comes_from_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    step = Step()
    first = begin(seed=1).artifact("numbers", step, {"a": 2})
    assert "numbers: computing (seed 1)" in capsys.readouterr().out
    again = begin(seed=1).artifact("numbers", step, {"a": 2})
    assert "numbers: from cache in" in capsys.readouterr().out
    assert step.n_calls == 1
    assert first.key == again.key
    assert again["numbers"].to_dict("records") == [{"seed": 1, "config": 2}]


def test_a_step_may_be_given_another_seed() -> None:
    artifact = begin(seed=1).artifact("numbers", Step(), {"a": 2}, seed=7)
    assert artifact["numbers"]["seed"].tolist() == [7]


def test_force_computes_again_once_per_kernel() -> None:
    step = Step()
    begin().artifact("numbers", step, {"a": 2})
    forced = begin(force=True)
    forced.artifact("numbers", step, {"a": 2})
    forced.artifact("numbers", step, {"a": 2})
    assert step.n_calls == 2


def test_force_leaves_what_another_notebook_of_the_same_run_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.RUN_STARTED, "1000000000.0")
    step = Step()
    begin("12_a", force=True).artifact("numbers", step, {"a": 2})
    begin("13_b", force=True).artifact("numbers", step, {"a": 2})
    assert step.n_calls == 1


def test_force_computes_once_where_two_notebooks_find_the_old_result(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step()
    begin().artifact("numbers", step, {"a": 2})
    monkeypatch.setenv(paths.RUN_STARTED, repr(time.time()))
    both = threading.Barrier(2, timeout=30)

    @contextlib.contextmanager
    def met(folder: Path) -> Iterator[None]:
        with files.locked(folder):
            yield
        both.wait()  # neither goes on before the other has had the lock too

    monkeypatch.setattr(artifacts, "locked", met)
    runs = [begin("12_a", force=True), begin("13_b", force=True)]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda run: run.artifact("numbers", step, {"a": 2}), runs))
    assert step.n_calls == 2
    assert found[0].provenance == found[1].provenance


@pytest.mark.parametrize("profile", ["smoke", "default"])
def test_figures_and_tables_go_where_the_profile_says(profile: str, cache: Path, tmp_path: Path) -> None:
    run = begin(profile=profile)
    draw(run, "a_figure")
    run.save_table(pd.DataFrame({"x": [1]}), "a_table", "One number.")
    folder = cache / "runs" / "smoke" / "figures" if profile == "smoke" else tmp_path / "figures"
    assert {path.suffix for path in folder.glob("a_figure.*")} == {".pdf", ".png", ".csv", ".json"}
    assert (folder / "tables" / "a_table.tex").is_file()
    assert profile == "default" or not (tmp_path / "figures").exists()


def test_a_figure_says_where_it_came_from() -> None:
    run = begin(seed=4)
    artifact = run.artifact("numbers", Step(), {"a": 2})
    draw(run, "a_figure")
    provenance = json.loads((run.folder / "a_figure.json").read_text("utf-8"))["provenance"]
    assert provenance["notebook"] == "12_a"
    assert provenance["profile"] == "smoke"
    assert provenance["seed"] == 4
    assert provenance["artifacts"] == [f"numbers-{artifact.key}"]
    assert {"commit", "device"} <= set(provenance)


def test_recorded_results_reach_the_registry_with_their_origin() -> None:
    run = begin()
    printed = registry.paper_numbers().iloc[0]
    row = printed[registry.KEY].to_dict() | {"ours": 9.0, "protocol": printed["paper_protocol"]}
    run.record([row])
    table = run.registry()["reproduction"]
    ours = table.loc[table["ours"].notna()]
    assert ours["ours"].tolist() == [9.0]
    assert ours["profile"].tolist() == ["smoke"]
    assert ours["config"].str.len().tolist() == [16]


def test_the_tables_of_an_empty_cache_have_their_columns() -> None:
    from reclib import overview

    assert overview.runs().columns.tolist() == [
        "notebook",
        "profile",
        "finished",
        "seconds",
        "steps",
        "figures",
    ]
    assert overview.cached_steps().columns.tolist() == ["step", "finished", "unfinished", "MB"]
    assert overview.profiles().columns.tolist() == ["smoke", "default", "paper"]
    assert "data.source" in overview.profiles().index
    assert "tune.weight_decay" not in overview.profiles().index  # the same in all three


def test_finish_leaves_the_record_that_status_reads(capsys: pytest.CaptureFixture[str]) -> None:
    from reclib import overview

    run = begin()
    run.artifact("numbers", Step(), {"a": 2})
    draw(run, "a_figure")
    run.finish()
    assert "12_a: finished in" in capsys.readouterr().out
    row = overview.runs().iloc[0]
    assert (row["notebook"], row["profile"], row["steps"], row["figures"]) == ("12_a", "smoke", 1, 1)
    begin(profile="paper", overrides={"data.source": "msl_book"}).finish()
    assert overview.runs()["profile"].tolist() == ["smoke", "custom/msl_book"]
    steps = overview.cached_steps().set_index("step")
    assert steps.loc["numbers", "finished"] == 1
    assert steps.loc["numbers", "unfinished"] == 0
