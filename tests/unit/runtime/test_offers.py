"""Which classes a node offers, and under which names."""

from __future__ import annotations

from typing import Any

import pytest

from pyhorde import Process
from pyhorde.errors import ConfigError, UnknownType
from pyhorde.runtime.offers import Offers, full_type


class One(Process): ...


class Two(Process):
    class Inner(Process): ...


def test_a_class_is_offered_under_its_module_and_name():
    offers = Offers([Two, One])
    assert offers.types == (f"{__name__}:One", f"{__name__}:Two")
    assert offers.get(f"{__name__}:One") is One
    assert offers.name_of(Two) == f"{__name__}:Two"
    assert Offers([Two.Inner]).types == (f"{__name__}:Two.Inner",)


def test_a_class_may_be_offered_under_another_name():
    offers = Offers({"app:Counter": One})
    assert offers.get("app:Counter") is One and offers.name_of(One) == "app:Counter"
    assert offers.classes == (One,)


def test_of_two_names_of_a_class_the_first_is_its_name():
    assert Offers({"a:One": One, "b:One": One}).name_of(One) == "a:One"


def test_a_class_that_is_not_offered_has_its_own_path_as_its_name():
    assert Offers([]).name_of(One) == f"{__name__}:One"


def test_an_unknown_type_is_refused_with_those_that_are_known():
    with pytest.raises(UnknownType) as caught:
        Offers([One]).get("m:No")
    assert caught.value.offered == (f"{__name__}:One",)
    assert Offers([One]).find("m:No") is None


@pytest.mark.parametrize("bad", [int, Process, "One", None])
def test_what_is_no_process_class_is_a_wrong_setting(bad: Any):
    with pytest.raises(ConfigError) as caught:
        Offers({"m:Bad": bad})
    assert caught.value.option == "processes"


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("m:One", "m:One"),
        ("One", "m:One"),
        ("Two", "Two"),
        ("other:One", "other:One"),
        ("Nothing", "Nothing"),
        ("Alone", "Alone"),
    ],
)
def test_a_class_name_alone_is_enough_when_it_is_the_only_one(wanted: str, meant: str):
    assert full_type(wanted, ["m:One", "m:Two", "n:Two", "Alone"]) == meant
