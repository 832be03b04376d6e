from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest

from reclib.plotting import style


@pytest.fixture
def low_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save images small, where a test does not look at them."""
    export = style.export()
    monkeypatch.setattr(style, "export", lambda: export | {"savefig.dpi": 20})


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")
