"""Print requirements out of pyproject.toml, one a line. usage: requirements.py [build] [runtime] [test] [stubs]"""

import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def requirements(group: str) -> list[str]:
    """The requirements of one group. Raises KeyError for an unknown one."""
    data = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    if group == "build":
        # hatchling asks for editables when it installs in place
        return [*data["build-system"]["requires"], "editables"]
    if group == "runtime":
        return list(data["project"]["dependencies"])
    return list(data["project"]["optional-dependencies"].get(group) or data["dependency-groups"][group])


if __name__ == "__main__":
    print("\n".join(line for group in sys.argv[1:] for line in requirements(group)))
