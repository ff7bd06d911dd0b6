"""The Lua scripts as objects that check a call against the script's own header."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

Arg = str | bytes | int | float

_HEADER = re.compile(r"^-- (KEYS|ARGV): +(.+)$", re.MULTILINE)
_FIRST_LINE = re.compile(r"#!lua( flags=[a-z,-]+)?\n")
_REST = re.compile(r"\[([a-z_ ]+)\]\.\.\.$")


@dataclass(frozen=True)
class Script:
    """One script: its text and the names that its header gives to KEYS and ARGV.

    `rest` names the group of arguments that may follow the named ones, any number of times.
    """

    name: str
    text: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    rest: tuple[str, ...]

    @cached_property
    def sha(self) -> str:
        """The hash under which Redis knows the script: it is the script's version."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def reads_only(self) -> bool:
        """Whether it says that it writes nothing: then the right to read its keys is enough."""
        return "no-writes" in self.text.partition("\n")[0]

    def call(
        self, keys: Mapping[str, str], args: Mapping[str, Arg], rest: Sequence[Arg] = ()
    ) -> "Call":
        """A call with these arguments. `rest` is flat.

        Raises ValueError when the names are not those of the header.
        """
        if keys.keys() != set(self.keys) or args.keys() != set(self.args):
            missing = (set(self.keys) ^ keys.keys()) | (set(self.args) ^ args.keys())
            raise ValueError(f"{self.name}: names differ from the header: {sorted(missing)}")
        if rest and (not self.rest or len(rest) % len(self.rest)):
            raise ValueError(f"{self.name}: {len(rest)} arguments do not repeat {self.rest}")
        named: list[Arg] = [keys[name] for name in self.keys]
        named += [args[name] for name in self.args]
        return Call(self, [len(self.keys), *named, *rest])


@dataclass(frozen=True)
class Call:
    """One call of a script; `arguments` are what follows it: numkeys, KEYS, ARGV."""

    script: Script
    arguments: list[Arg]


def parse(name: str, text: str) -> Script:
    """Read a script's header. Raises ValueError when it has none."""
    header = dict(_HEADER.findall(text))
    if not _FIRST_LINE.match(text) or header.keys() != {"KEYS", "ARGV"}:
        raise ValueError(f"{name}: starts with '#!lua' and names its KEYS and ARGV in a header")
    rest = _REST.search(header["ARGV"])
    return Script(
        name=name,
        text=text,
        keys=tuple(header["KEYS"].split()),
        args=tuple(_REST.sub("", header["ARGV"]).split()),
        rest=tuple(rest[1].split()) if rest else (),
    )


def load_scripts() -> dict[str, Script]:
    """All scripts of the package, by name."""
    folder = resources.files("common.lua")
    files = [item for item in folder.iterdir() if item.name.endswith(".lua")]
    texts = {item.name.removesuffix(".lua"): item.read_text(encoding="utf-8") for item in files}
    return {name: parse(name, text) for name, text in texts.items()}
