"""The reference page, the example file and the README say what the table of options says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.config import manual
from appliance.config.load import load
from appliance.config.option import SECTIONS, Option, Origin
from appliance.config.options import OPTIONS
from tests.unit.config_garbage import REQUIRED
from tests.unit.test_config_options import SPECIFIED_PATHS, SPECIFIED_VARIABLES

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
_REQUIRED_FIELDS = {option.path for option in OPTIONS if option.required}


@pytest.mark.parametrize(("name", "made"), [(manual.PAGE, manual.page()), (manual.EXAMPLE, manual.example())])
def test_what_is_in_the_documents_is_what_the_table_makes(name: str, made: str) -> None:
    assert (_DOCS / name).read_text() == made, f"docs/{name} is stale: run `make reference`"


def test_writing_makes_both_files(tmp_path: Path) -> None:
    manual.write(tmp_path)

    assert {file.name for file in tmp_path.iterdir()} == {manual.PAGE, manual.EXAMPLE}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.path)
def test_every_option_has_a_row_with_all_there_is_to_say(option: Option) -> None:
    rows = [line for line in manual.page().splitlines() if line.startswith(f"| `{option.variable}`")]

    assert len(rows) == 1
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", rows[0])[1:-1]]
    names, default, allowed, unit, meaning, origin = cells
    assert f"`{option.path}`" in names
    assert all(f"`{name}`" in names for name in (option.file_variable, *option.aliases) if name)
    assert default
    assert (allowed, unit) == (option.kind.allowed.replace("|", "\\|"), option.kind.unit)
    assert len(option.doc) > 20
    assert meaning.startswith(option.doc.replace("|", "\\|"))
    assert origin == option.origin


def test_an_option_without_a_row_would_make_the_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    added = replace(OPTIONS[-1], variable="RUNQY_LOG_COLOUR", doc="Whether in colour.")
    monkeypatch.setattr(manual, "OPTIONS", (*OPTIONS, added))

    assert (_DOCS / manual.PAGE).read_text() != manual.page()
    assert (_DOCS / manual.EXAMPLE).read_text() != manual.example()


def test_what_is_said_to_be_specified_is_what_the_specification_has() -> None:
    variables = {variable for variable, _ in SPECIFIED_VARIABLES}
    keys = {variable for _, _, variable in SPECIFIED_PATHS}

    for option in OPTIONS:
        expected = {
            (True, True): Origin.SPECIFICATION,
            (True, False): Origin.SPECIFIED_VARIABLE,
            (False, True): Origin.SPECIFIED_KEY,
            (False, False): Origin.OURS,
        }[option.variable in variables, option.variable in keys]
        assert option.origin is expected, option.path


def test_the_example_file_is_valid_and_changes_nothing(tmp_path: Path) -> None:
    from_example = load({}, _DOCS / manual.EXAMPLE, tmp_path)
    from_defaults = load(REQUIRED, None, tmp_path)

    assert from_example.warnings == ()
    assert {path for path, origin in from_example.origins.items() if origin != "default"} == _REQUIRED_FIELDS
    # The first two are in it, and the third says that it is a file which may hold secrets.
    own = ("server", "worker", "isolation")
    assert (
        replace(
            from_example.settings, **{section: getattr(from_defaults.settings, section) for section in own}
        )
        == from_defaults.settings
    )
    assert from_example.settings.worker == replace(
        from_defaults.settings.worker, queues=from_example.settings.worker.queues
    )


def test_the_example_file_names_every_option_with_its_default(tmp_path: Path) -> None:
    whole = re.sub(r"(?m)^  #(?=\S)", "  ", manual.example())
    (tmp_path / "config.yml").write_text(whole)

    loaded = load({}, None, tmp_path)

    assert loaded.warnings == ()
    for option in OPTIONS:
        value = getattr(getattr(loaded.settings, option.section), option.field)
        if not option.required:
            assert value == option.default, option.path
            assert (loaded.origins[option.path] == "default") == (option.default is None), option.path


def test_the_readme_names_ten_options_with_their_defaults() -> None:
    lines = re.findall(r"(?m)^\| (`RUNQY_.*) \|$", (_ROOT / "README.md").read_text())
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    options = {option.variable: option for option in OPTIONS}

    assert len(rows) == 10
    assert {option.variable for option in OPTIONS if option.required} <= {row[0].strip("`") for row in rows}
    for name, default, _ in rows:
        option = options[name.strip("`")]
        if option.default is not None:
            assert default == f"`{option.show(option.default)}`", name
        else:
            assert default == "required" if option.required else default[:1] != "`", name


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_says_what_it_is_about(section: str) -> None:
    assert re.search(rf"(?m)^## `{section}`\n\n[A-Z].+\.\n", manual.page())
