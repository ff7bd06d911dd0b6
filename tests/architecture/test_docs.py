"""The docs name everything that is public, and nothing that is not there."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from common.keys import CLASSES, Keys
from common.scripts import load_scripts
from common.settings import Settings
from tests.architecture.conftest import ROOT

PROCESSES = ("gateway", "dispatcher", "scaler", "cli", "monitor", "dashboard", "baseline")


def text_of(*path: str) -> str:
    file = ROOT.joinpath(*path)
    assert file.is_file(), f"{file.relative_to(ROOT)} is missing"
    return file.read_text(encoding="utf-8")


def every_setting() -> dict[str, str]:
    """Each setting with the process that has it."""
    found = dict.fromkeys(Settings.model_fields, "common")
    for process in PROCESSES:
        if (ROOT / process / "settings.py").is_file():
            module = importlib.import_module(f"{process}.settings")
            for _, kind in inspect.getmembers(module, inspect.isclass):
                if issubclass(kind, Settings):
                    found = dict.fromkeys(kind.model_fields, process) | found
    return found


def key_families() -> list[str]:
    """Each family of keys as the docs write it: `P:name:<argument>`, and both of two classes."""
    families = []
    for name, member in inspect.getmembers(Keys):
        if name.startswith("_") or not (isinstance(member, property) or inspect.isfunction(member)):
            continue
        if isinstance(member, property):
            families.append(getattr(Keys("x"), name))
            continue
        (argument,) = [name for name in inspect.signature(member).parameters if name != "self"]
        arguments = CLASSES if argument in {"job_class", "role"} else ("<",)
        families += [member(Keys("x"), value) for value in arguments]
    return [family.replace("adasplit:{x}", "P") for family in families]


SETTINGS = every_setting()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_documented(name: str) -> None:
    assert f"| `{name}` |" in text_of("docs", "settings.md"), f"a setting of {SETTINGS[name]}"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_in_the_example_environment(name: str) -> None:
    pattern = rf"^#? ?ADASPLIT_{name.upper()}="
    assert re.search(pattern, text_of(".env.example"), re.MULTILINE), f"of {SETTINGS[name]}"


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^\| `([a-z_]+)` \|", text_of("docs", "settings.md"), re.MULTILINE)
    in_example = re.findall(r"^#? ?ADASPLIT_([A-Z_]+)=", text_of(".env.example"), re.MULTILINE)
    known = set(SETTINGS)
    assert set(documented) - known == set()
    assert {name.lower() for name in in_example} - known == set()


@pytest.mark.parametrize("family", key_families())
def test_a_family_of_keys_is_documented(family: str) -> None:
    assert f"`{family}" in text_of("docs", "redis.md")


@pytest.mark.parametrize("name", load_scripts())
def test_a_script_is_documented(name: str) -> None:
    assert f"| `{name}` |" in text_of("docs", "redis.md")


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not Path(page.parent, target).exists()
    ]
    assert broken == []


def test_the_readme_says_the_same_in_both_languages() -> None:
    english, chinese = text_of("README.md"), text_of("README.zh-CN.md")
    own = {"README.md", "README.zh-CN.md"}
    for pattern in (r"\]\(([^)]+)\)", r'(?:src|srcset)="([^"]+)"', r"^#+ "):
        found = [
            [one for one in re.findall(pattern, text, re.MULTILINE) if one not in own]
            for text in (english, chinese)
        ]
        assert found[0] == found[1], pattern
    assert commands_of(english) == commands_of(chinese)


def commands_of(text: str) -> list[str]:
    """The blocks of commands, without what their comments say."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [re.sub(r" +# .*", "", block) for block in blocks]
