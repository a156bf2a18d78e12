"""Prints the requirements of the package, or of the extras that are named, one a line."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def requirements(*extras: str, root: Path = ROOT) -> list[str]:
    """Of these extras; of the package itself if there are none."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [one for name in extras for one in optional[name]] if extras else project["dependencies"]


if __name__ == "__main__":
    print("\n".join(requirements(*sys.argv[1:])))
