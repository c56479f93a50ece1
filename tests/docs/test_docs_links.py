"""Links lead somewhere, and what the pages name is there."""

import importlib
import re
from pathlib import Path

import pytest
from docs_pages import PAGES, ROOT, anchor, codes, headings, links

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

PACKAGES = "cmd_daemon|cmd_local|cmd_facility|cm_client|cm_cli|cmd_api"
PLACES = "cmd_daemon|plugins|clients|proto|docs|deploy|examples|tests"


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, part = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if part:
            known = [anchor(each) for each in headings(file.read_text(encoding="utf-8"))]
            assert part in known, target


@each_page
def test_modules_that_are_named_are_there(page: Path) -> None:
    for code in codes(page.read_text(encoding="utf-8")):
        if code == "cmd_daemon.plugins":  # the group of entry points
            continue
        if not re.fullmatch(rf"(?:{PACKAGES})(?:\.\w+)+", code):
            continue
        names = code.split(".")
        for depth in range(len(names), 0, -1):
            try:
                found: object = importlib.import_module(".".join(names[:depth]))
            except ModuleNotFoundError:
                continue
            for name in names[depth:]:
                assert hasattr(found, name), code
                found = getattr(found, name)
            break
        else:
            pytest.fail(code)


@each_page
def test_files_that_are_named_are_there(page: Path) -> None:
    places = (ROOT, page.parent)
    for code in codes(page.read_text(encoding="utf-8")):
        if re.fullmatch(rf"(?:{PLACES})/[\w./-]+|cmd_spool/\w+\.py|\w+\.(?:toml|py)", code):
            assert any((place / code).exists() for place in places), code
