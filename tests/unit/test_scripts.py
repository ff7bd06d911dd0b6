"""The scripts' loader: it reads a header and holds every call to it."""

import re

import pytest

from common.scripts import Script, load_scripts, parse

TEXT = """#!lua
-- thing: does a thing.
--
-- KEYS:    one two
-- ARGV:    first second [name value]...
-- RETURNS: OK
local one, two = unpack(KEYS)
"""

SCRIPTS = load_scripts()


@pytest.fixture
def thing() -> Script:
    return parse("thing", TEXT)


def test_a_header_names_keys_arguments_and_the_rest(thing: Script) -> None:
    assert thing.keys == ("one", "two")
    assert thing.args == ("first", "second")
    assert thing.rest == ("name", "value")


def test_a_call_puts_everything_in_the_order_of_the_header(thing: Script) -> None:
    call = thing.call({"two": "k2", "one": "k1"}, {"second": 2, "first": b"1"}, ["n", "v"])
    assert call.arguments == [2, "k1", "k2", b"1", 2, "n", "v"]


@pytest.mark.parametrize(
    ("keys", "args", "named"),
    [
        ({"one": "a"}, {"first": 1, "second": 2}, "two"),
        ({"one": "a", "two": "b", "three": "c"}, {"first": 1, "second": 2}, "three"),
        ({"one": "a", "two": "b"}, {"first": 1}, "second"),
        ({"one": "a", "two": "b"}, {"first": 1, "second": 2, "third": 3}, "third"),
    ],
)
def test_a_call_whose_names_are_not_the_headers_is_refused(
    thing: Script, keys: dict[str, str], args: dict[str, int], named: str
) -> None:
    with pytest.raises(ValueError, match=rf"thing: .*'{named}'"):
        thing.call(keys, args)


@pytest.mark.parametrize("rest", [["n"], ["n", "v", "n"]])
def test_a_rest_that_is_no_whole_number_of_groups_is_refused(
    thing: Script, rest: list[str]
) -> None:
    with pytest.raises(ValueError, match="do not repeat"):
        thing.call({"one": "a", "two": "b"}, {"first": 1, "second": 2}, rest)


def test_a_rest_that_the_header_does_not_name_is_refused() -> None:
    plain = parse("plain", TEXT.replace(" [name value]...", ""))
    with pytest.raises(ValueError, match="do not repeat"):
        plain.call({"one": "a", "two": "b"}, {"first": 1, "second": 2}, ["n"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.removeprefix("#!lua\n"),
        TEXT.replace("#!lua", "#!lua name=thing"),
        TEXT.replace("-- KEYS:", "-- KEY:"),
        TEXT.replace("-- ARGV:", "-- ARGS:"),
    ],
)
def test_a_script_without_its_first_line_or_header_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="thing: starts with '#!lua'"):
        parse("thing", text)


def test_the_hash_of_a_script_is_its_version(thing: Script) -> None:
    assert thing.sha == parse("other", TEXT).sha
    assert thing.sha != parse("thing", TEXT + "\n").sha


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
def test_a_script_unpacks_the_names_of_its_header(name: str, table: str) -> None:
    script = SCRIPTS[name]
    found = re.search(rf"^local ([a-z_,\s]+?)\s*=\s*unpack\({table}\)$", script.text, re.MULTILINE)
    unpacked = tuple(re.split(r",\s*", found[1])) if found else ()
    assert unpacked == (script.keys if table == "KEYS" else script.args)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_rest_begins_where_the_named_arguments_end(name: str) -> None:
    script = SCRIPTS[name]
    loops = re.findall(r"^for i = (\d+), #ARGV, (\d+) do$", script.text, re.MULTILINE)
    expected = [(str(len(script.args) + 1), str(len(script.rest)))] if script.rest else []
    assert loops == expected
