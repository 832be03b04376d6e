from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from reclib import paths
from reclib.plotting import export, figures, style
from reclib.schema import InputError
from tests.plotting.made_tables import EXAMPLES

TABLE = EXAMPLES["gradient_norms"].table


def figure() -> Figure:
    fig, ax = style.subplots(width="column")
    figures.gradient_norms(TABLE, ax)
    return fig


def save(folder: Path, profile: str = "default", name: str = "norms") -> export.Saved:
    provenance = {"profile": profile, "commit": "abc"}
    return export.save_figure(figure(), name, TABLE, "Norms.", folder=folder, provenance=provenance)


def test_a_figure_leaves_four_files_of_final_size(tmp_path: Path) -> None:
    saved = save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"norms.{end}" for end in ("csv", "json", "pdf", "png")
    ]
    assert set(saved.files) == set(tmp_path.iterdir())
    assert imread(tmp_path / "norms.png").shape[1] == int(3.337 * 300)
    assert b"Software" not in (tmp_path / "norms.png").read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "norms.csv"), TABLE)
    about = json.loads((tmp_path / "norms.json").read_text("utf-8"))
    assert about["caption"] == "Norms."
    assert about["provenance"] == {"profile": "default", "commit": "abc"}
    assert about["size_in"][0] == 3.337


def test_a_rerun_gives_the_same_bytes_and_embeds_truetype(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "one")
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    save(tmp_path / "two")
    for end in ("pdf", "png", "csv"):
        assert (tmp_path / f"one/norms.{end}").read_bytes() == (tmp_path / f"two/norms.{end}").read_bytes()
    pdf = (tmp_path / "one/norms.pdf").read_bytes()
    assert b"CIDFontType2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_a_result_of_profile_paper_stays(tmp_path: Path, low_resolution: None) -> None:
    assert save(tmp_path, "paper").files
    before = (tmp_path / "norms.json").read_bytes()
    kept = save(tmp_path, "default")
    assert not kept.files
    assert "came from profile paper" in kept.message
    assert (tmp_path / "norms.json").read_bytes() == before
    assert save(tmp_path, "paper").files


def test_a_higher_profile_replaces_a_lower_one(tmp_path: Path, low_resolution: None) -> None:
    for profile in ("smoke", "default", "default", "paper"):
        assert save(tmp_path, profile).files
    assert json.loads((tmp_path / "norms.json").read_text("utf-8"))["provenance"]["profile"] == "paper"


def test_profile_smoke_never_writes_where_the_committed_results_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "figures_dir", lambda: tmp_path / "figures")
    kept = save(tmp_path / "figures", "smoke")
    assert not kept.files
    assert "profile smoke" in kept.message
    assert not (tmp_path / "figures").exists()


def test_a_failed_write_leaves_the_earlier_files_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, low_resolution: None
) -> None:
    save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def disk_is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_json", disk_is_full)
    with pytest.raises(InputError, match="cannot write norms.*No space left"):
        save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "caption", "rows", "profile", "message"),
    [
        ("../norms", "Norms.", 3, "default", "lower-case"),
        ("norms", " ", 3, "default", "no caption"),
        ("norms", "Norms.", 0, "default", "no rows"),
        ("norms", "Norms.", 3, "fast", "profile 'fast'"),
    ],
)
def test_bad_names_captions_and_profiles_are_refused(
    tmp_path: Path, name: str, caption: str, rows: int, profile: str, message: str
) -> None:
    fig = Figure()
    with pytest.raises(InputError, match=message):
        export.save_figure(fig, name, TABLE[:rows], caption, folder=tmp_path, provenance={"profile": profile})
    assert not list(tmp_path.iterdir())


def test_a_table_leaves_csv_markdown_and_latex(tmp_path: Path) -> None:
    table = pd.DataFrame({"method": ["MSL, τ = 2"], "HR@10_%": [12.345678], "n": [256]})
    saved = export.save_table(table, "main", "HR & co.", folder=tmp_path, provenance={"profile": "default"})
    assert [path.suffix for path in saved.files] == [".csv", ".json", ".md", ".tex"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "main.csv"), table)
    assert (tmp_path / "main.md").read_text("utf-8") == (
        "HR & co.\n\n| method | HR@10_% | n |\n| --- | ---: | ---: |\n| MSL, τ = 2 | 12.35 | 256 |\n"
    )
    latex = (tmp_path / "main.tex").read_text("utf-8")
    assert r"\caption{HR \& co.}" in latex
    assert r"method & HR@10\_\% & n \\" in latex
    assert r"MSL, $\tau$ = 2 & 12.35 & 256 \\" in latex
    assert r"\begin{tabular}{lrr}" in latex
    export.save_table(table, "main", "HR.", folder=tmp_path, provenance={"profile": "paper"})
    kept = export.save_table(table, "main", "HR.", folder=tmp_path, provenance={"profile": "default"})
    assert not kept.files
