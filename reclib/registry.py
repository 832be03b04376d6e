"""The papers' printed numbers and statements against ours, generated from what the notebooks recorded.

Notebooks `record` rows; `generate` joins them with `papers/*.csv` into two tables in which every printed
value and every checkable statement has its row, run or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib import files, paths, schema
from reclib.schema import InputError

KEY = ["paper", "table", "dataset", "setting", "method", "subset", "metric"]
OURS = ["ours", "ours_low", "ours_high", "seeds", "profile", "protocol", "config", "commit", "device"]
DIFFERENCE = ["reference", "difference", "difference_low", "difference_high"]
STATEMENT_KEY = ["spec", "number", "dataset"]
FINDING = ["holds", "value", "low", "high", "profile", "note"]
# A result of a later one replaces that of an earlier one; "custom" is a profile with changed settings.
PROFILES = ("smoke", "default", "custom", "paper")
STATUSES = ("reproduced", "direction", "differs", "not_run")
_TEXT = ["seeds", "profile", "protocol", "config", "commit", "device", "reference", "holds", "note"]
# Beside those of papers/protocols.csv, whose "constrained_beam" scores over the full vocabulary as released.
OWN_PROTOCOLS = ("constrained_beam_valid", "exact_top_k")
# What does not depend on a profile: statistics of a paper's data set under the paper's preprocessing.
OF_DATA = "statistics"
_NORMAL_95 = 1.96  # half width of a 95 % interval in standard errors


def paper_numbers() -> pd.DataFrame:
    """Every printed value: KEY, value (as printed), note, number (per cent as a fraction), paper_protocol."""
    parts = [_read_paper(name) for name in ("msl.csv", "faerec.csv")]
    table = pd.concat(parts, ignore_index=True)
    _refuse_repeats(table, KEY, source="papers/*.csv")
    protocols = _read_paper("protocols.csv").set_index(["paper", "table", "method"])["protocol"].to_dict()
    places = zip(table["paper"], table["table"], table["method"], strict=True)
    protocol = [protocols.get((p, t, m)) or protocols[p, t, "*"] for p, t, m in places]
    return table.assign(number=table["value"].map(printed_number), paper_protocol=np.array(protocol))


def deviations() -> pd.DataFrame:
    """What differs between a paper, its released code and ours, why, and the test that holds ours."""
    return _read_paper("deviations.csv")


def statements() -> pd.DataFrame:
    """The checkable statements that end the specifications: spec, number, statement."""
    table = _read_paper("statements.csv")
    _refuse_repeats(table, ["spec", "number"], source="papers/statements.csv")
    return table


def printed_number(text: str) -> float:
    """A printed value as a number: "0.0182" is 0.0182, "0.0735%" is 0.000735."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise InputError(f"papers: the printed value {text!r} is no number") from None


def record(
    rows: pd.DataFrame | Sequence[Mapping[str, Any]],
    notebook: str,
    *,
    profile: str,
    folder: Path,
    place: str | None = None,
) -> Path:
    """Keep a notebook's results for printed values; its earlier ones of the same place are replaced.

    rows: paper, table, dataset, method, metric, `setting` and `subset` where the paper has several, ours,
    protocol (of papers/protocols.csv, or one of OWN_PROTOCOLS), and where known ours_low, ours_high, seeds,
    config, commit, device. A row that compares with another printed method names it in `reference` and
    gives the paired `difference` (ours minus ours of the reference) with `difference_low` and
    `difference_high`, in the metric's unit. place: folder below `folder`, that of the profile unless given
    Raises InputError for a row that no paper prints (naming what is printed), an unknown protocol, column
    or profile, and a missing or infinite `ours`.
    """
    table = _frame(rows, [*KEY, *OURS, *DIFFERENCE], profile=profile)
    printed = paper_numbers()
    schema.check(table, {"ours": "float", "protocol": "string"}, source=f"results of {notebook}")
    infinite = ~np.isfinite(table["ours"].astype(float))
    if infinite.any():
        row = int(infinite.argmax())
        raise InputError(f"results of {notebook}: row {row}: ours is {table['ours'].iloc[row]}")
    unknown = set(table["protocol"]) - {*printed["paper_protocol"], *OWN_PROTOCOLS}
    if unknown:
        raise InputError(f"results of {notebook}: unknown protocols {sorted(unknown)}")
    keys = [_printed_key(row, printed) for row in table.to_dict("records")]
    table = pd.concat([pd.DataFrame(keys, columns=KEY), table.drop(columns=KEY)], axis=1)
    _refuse_repeats(table, KEY, source=f"results of {notebook}")
    return _write(table, folder / (place or profile) / f"{notebook}.csv")


def record_statements(
    rows: pd.DataFrame | Sequence[Mapping[str, Any]],
    notebook: str,
    *,
    profile: str,
    folder: Path,
    place: str | None = None,
) -> Path:
    """Keep what a notebook found about statements; its earlier findings of the same place are replaced.

    rows: spec, number, dataset, holds ("yes", "no", or a bool), and where known value, low, high, note.
    Raises InputError for a statement that `papers/statements.csv` does not list, or another `holds`.
    """
    table = _frame(rows, [*STATEMENT_KEY, *FINDING], profile=profile)
    table["number"] = table["number"].astype(str)
    table["holds"] = [{True: "yes", False: "no"}.get(held, held) for held in table["holds"]]
    listed = set(map(tuple, statements()[["spec", "number"]].to_numpy()))
    for spec, number, held in table[["spec", "number", "holds"]].to_numpy().tolist():
        if (spec, number) not in listed or held not in ("yes", "no"):
            raise InputError(
                f"results of {notebook}: statement {spec} {number} holds={held!r}; "
                f"papers/statements.csv lists {', '.join(' '.join(one) for one in sorted(listed))}, "
                "and holds is yes or no"
            )
    _refuse_repeats(table, STATEMENT_KEY, source=f"results of {notebook}")
    return _write(table, folder / (place or profile) / f"{notebook}.statements.csv")


def reproduction(folder: Path | None = None) -> pd.DataFrame:
    """One row for every printed value, with our result of the highest profile and a status by rule.

    reproduced: profile paper (any, for statistics of the data), the paper's protocol, and within 2 pooled
    standard errors or 5 % of the printed value; the papers print no errors, so theirs is taken as large as
    ours: the pooled one is √2 of ours.
    direction: the difference to `reference` has the printed sign, and its interval excludes 0.
    differs: run, and neither; it may be an effect too small for the run. not_run: no result.

    Returns KEY, value, note, the columns OURS, status, and the columns DIFFERENCE.
    """
    printed = paper_numbers()
    ours = _best(_read_results(folder, "*.csv"), KEY, [*OURS, *DIFFERENCE])
    table = printed.merge(ours, on=KEY, how="left", validate="one_to_one")
    reference = printed.set_index(KEY)["number"].rename("reference_number")
    at_reference = table.assign(method=table["reference"])[KEY]
    table["reference_number"] = reference.reindex(pd.MultiIndex.from_frame(at_reference)).to_numpy()
    table["status"] = [_status(row) for row in table.to_dict("records")]
    return table[[*KEY, "value", "note", *OURS, "status", *DIFFERENCE]]


def statement_results(folder: Path | None = None) -> pd.DataFrame:
    """Every statement, once for each data set it was tested on; once, "untested", where there is none.

    Returns spec, number, statement, dataset, holds, value, low, high, profile, note.
    """
    found = _best(_read_results(folder, "*.statements.csv"), STATEMENT_KEY, FINDING)
    table = statements().merge(found, on=["spec", "number"], how="left")
    table["holds"] = table["holds"].fillna("untested")
    return table[["spec", "number", "statement", "dataset", *FINDING]]


def generate(*, results: Path | None = None, folder: Path | None = None) -> dict[str, pd.DataFrame]:
    """Write reproduction.csv and statements.csv to `folder` (figures/tables) from the recorded `results`."""
    folder = folder or paths.figures_dir() / "tables"
    tables = {"reproduction": reproduction(results), "statements": statement_results(results)}
    for name, table in tables.items():
        _write(table, folder / f"{name}.csv")
    return tables


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """Our change against the reference method beside the printed one, for `figures.paper_against_ours`.

    table: as `reproduction` gives it. Returns label, paper, ours, ours_low, ours_high, status; changes are
    shares of the reference's value. Rows without a reference are left out, and those where ours of it is 0.
    """
    rows = table.dropna(subset=["difference", "difference_low", "difference_high"])
    rows = rows[rows["ours"] != rows["difference"]]
    printed = paper_numbers().set_index(KEY)["number"]
    value = printed.reindex(pd.MultiIndex.from_frame(rows[KEY])).to_numpy()
    reference = printed.reindex(
        pd.MultiIndex.from_frame(rows.assign(method=rows["reference"])[KEY])
    ).to_numpy()
    own_reference = rows["ours"] - rows["difference"]
    against = rows["method"] + " – " + rows["reference"]
    return pd.DataFrame(
        {
            "label": rows["dataset"] + ", " + rows["metric"] + "\n" + against,
            "paper": value / reference - 1,
            "ours": rows["difference"] / own_reference,
            "ours_low": rows["difference_low"] / own_reference,
            "ours_high": rows["difference_high"] / own_reference,
            "status": rows["status"],
        }
    ).reset_index(drop=True)


def summary(folder: Path | None = None) -> pd.DataFrame:
    """Number of printed values by paper (rows) and status (columns)."""
    table = reproduction(folder)
    return pd.crosstab(table["paper"], table["status"]).reindex(columns=list(STATUSES), fill_value=0)


def _status(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["ours"]):
        return "not_run"
    is_setting = row["profile"] == "paper" or row["protocol"] == OF_DATA
    if is_setting and row["protocol"] == row["paper_protocol"] and _is_close(row):
        return "reproduced"
    change, low, high = (row[name] for name in ("difference", "difference_low", "difference_high"))
    same_sign = np.sign(row["number"] - row["reference_number"]) == np.sign(change)
    return "direction" if same_sign and (low > 0 or high < 0) else "differs"


def _is_close(row: Mapping[Any, Any]) -> bool:
    distance = abs(row["ours"] - row["number"])
    pooled = np.sqrt(2) * (row["ours_high"] - row["ours_low"]) / (2 * _NORMAL_95)
    return bool(
        distance <= 0.05 * abs(row["number"]) or distance <= 2 * pooled
    )  # false where pooled is missing


def _printed_key(row: Mapping[Any, Any], printed: pd.DataFrame) -> list[str]:
    """KEY of the one printed value that a row means; its reference must be printed beside it."""
    given = {column: str(row[column]) for column in KEY if pd.notna(row[column])}
    if "subset" not in given:
        given["subset"] = "all"
    match = printed.loc[(printed[list(given)] == pd.Series(given)).all(axis=1)]
    if len(match) != 1:
        near = printed.loc[
            (printed["paper"] == given.get("paper")) & (printed["table"] == given.get("table"))
        ]
        known = (
            {column: sorted(near[column].unique()) for column in KEY[2:]} if len(near) else "no such table"
        )
        raise InputError(
            f"{given} names {len(match)} printed values, not one; printed there: {known}. "
            "A result on data that no paper uses belongs in record_statements."
        )
    key = match.iloc[0][KEY]
    if pd.notna(row["reference"]):
        beside = key.copy()
        beside["method"] = row["reference"]
        if not (printed[KEY] == beside).all(axis=1).any():
            raise InputError(f"{given}: its reference {row['reference']!r} is not printed beside it")
    return key.tolist()


def _frame(rows: Any, columns: list[str], *, profile: str) -> pd.DataFrame:
    """The rows with every column, in order; unknown columns and profiles are refused."""
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r}: known are {', '.join(PROFILES)}")
    table = pd.DataFrame(rows).reset_index(drop=True)
    unknown = [column for column in table.columns if column not in columns]
    if unknown:
        raise InputError(f"results with unknown columns {unknown}; known are {', '.join(columns)}")
    return table.reindex(columns=columns).assign(profile=profile)


def _read_paper(name: str) -> pd.DataFrame:
    return pd.read_csv(paths.papers_dir() / name, dtype=str, keep_default_na=False)


def _read_results(folder: Path | None, pattern: str) -> pd.DataFrame:
    """Recorded rows of a kind, with `notebook`; the last of PROFILES first, a place before those in it."""
    folder = folder or paths.figures_dir() / "tables" / "results"
    parts = []
    for profile in reversed(PROFILES):
        files = [path for path in sorted((folder / profile).rglob(pattern)) if _is_kind(path, pattern)]
        parts += [_read_result(path) for path in files]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _is_kind(path: Path, pattern: str) -> bool:
    return path.name.endswith(".statements.csv") == pattern.startswith("*.statements")


def _read_result(path: Path) -> pd.DataFrame:
    text = [column for column in [*KEY, *STATEMENT_KEY, *_TEXT] if column != "dataset"]
    return pd.read_csv(path, dtype=dict.fromkeys([*text, "dataset"], str)).assign(notebook=path.name)


def _best(results: pd.DataFrame, key: list[str], values: list[str]) -> pd.DataFrame:
    """The rows of the highest profile for each key; two notebooks with one key and profile are refused.

    One notebook's places may share a key that depends on no data set: the first one's row counts, "custom"
    before "custom/msl_book".
    """
    if results.empty:
        return pd.DataFrame(columns=[*key, *values], dtype=object)
    results = results.drop_duplicates([*key, "profile", "notebook"])
    _refuse_repeats(results, [*key, "profile"], source="recorded results")
    return results.drop_duplicates(key)[[*key, *values]]


def _refuse_repeats(table: pd.DataFrame, key: list[str], *, source: str) -> None:
    repeated = table.loc[table.duplicated(key, keep=False)]
    if not repeated.empty:
        notebooks = (
            f" (recorded by {', '.join(repeated['notebook'].unique())})" if "notebook" in table else ""
        )
        raise InputError(f"{source}: several rows for {repeated.iloc[0][key].to_dict()}{notebooks}; keep one")


def _write(table: pd.DataFrame, path: Path) -> Path:
    files.atomic_write(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
    return path
