"""`python -m reclib`."""

from __future__ import annotations

from reclib.cli import main

if __name__ == "__main__":
    main()
