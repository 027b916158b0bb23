"""Rules of the house that no linter knows."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def loaded(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        .stdout.split("\n")[-2]
        .split()
    )


def test_importing_palpate_loads_nothing_heavy():
    modules = loaded("import palpate")
    assert "numpy" in modules
    assert not modules & {"torch", "mujoco", "scipy", "matplotlib", "pyarrow", "cv2", "gymnasium", "sklearn"}


def test_help_loads_nothing_heavy():
    call = "main(['train', 'outcome', '--help'])"
    end = "except SystemExit as end:\n  assert end.code == 0"
    modules = loaded(f"from palpate.cli.main import main\ntry:\n  {call}\n{end}")
    assert not modules & {"torch", "mujoco", "scipy", "matplotlib", "pyarrow", "cv2", "gymnasium", "sklearn"}


def test_every_relative_link_of_the_documents_leads_somewhere():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert documents
    for document in documents:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which does not exist"


def test_paths_named_in_the_documents_exist():
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for path in re.findall(r"`((?:src|docs|benchmarks|tests|scripts|examples)/[\w./-]+)`", document.read_text()):
            assert (ROOT / path).exists(), f"{document.name} names {path}, which does not exist"
