"""The keys of a pool."""

import inspect
import re

import pytest

from common.keys import CLASSES, Keys, other_class


def every_key(keys: Keys) -> dict[str, str]:
    """Each family of keys with one key of it."""
    found = {}
    for name, member in inspect.getmembers(Keys):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            found[name] = getattr(keys, name)
        elif inspect.isfunction(member):
            found[name] = getattr(keys, name)("short")
    return found


@pytest.mark.parametrize("pool", ["default", "a.b-c_1"])
def test_every_key_has_the_pools_one_hash_tag(pool: str) -> None:
    for name, key in every_key(Keys(pool)).items():
        assert key.startswith(f"adasplit:{{{pool}}}:"), name
        assert re.findall(r"[{}]", key) == ["{", "}"], name


def test_no_two_families_share_a_key() -> None:
    keys = every_key(Keys())
    assert len(set(keys.values())) == len(keys) >= 18


def test_the_keys_that_other_tools_use_keep_their_names() -> None:
    keys = Keys("p")
    assert keys.queue("long") == "adasplit:{p}:queue:long"
    assert keys.job("1") == "adasplit:{p}:job:1"
    assert keys.role("u") == "adasplit:{p}:role:u"
    assert keys.active("u") == "adasplit:{p}:active:u"
    assert keys.leases("u") == "adasplit:{p}:leases:u"
    assert keys.idle_since("u") == "adasplit:{p}:idle_since:u"
    assert keys.units == "adasplit:{p}:units"
    assert keys.unit("u") == "adasplit:{p}:unit:u"
    assert keys.hungry("short") == "adasplit:{p}:hungry:short"
    assert keys.reply("g") == "adasplit:{p}:reply:g"
    assert keys.dead == "adasplit:{p}:dead"
    assert keys.events == "adasplit:{p}:events"
    assert keys.policy == "adasplit:{p}:policy"
    assert keys.leader == "adasplit:{p}:scaler:leader"
    assert keys.cooldown == "adasplit:{p}:scaler:cooldown"


def test_each_class_is_the_other_of_the_other() -> None:
    assert [other_class(name) for name in CLASSES] == list(reversed(CLASSES))


def test_every_family_says_its_type_and_whether_it_stays() -> None:
    for name in every_key(Keys()):
        said = inspect.getdoc(inspect.getattr_static(Keys, name)) or ""
        assert re.match(r"(STREAM|HASH|ZSET|STRING|LIST), .+:", said), name
