"""The source files of the package, as the architecture tests read them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pyhorde"
EXAMPLES_LINK = PACKAGE / "examples"


def modules() -> list[str]:
    """Every module of the package as a path relative to the root, without the linked examples."""
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*.py")
        if EXAMPLES_LINK not in path.parents
    )
