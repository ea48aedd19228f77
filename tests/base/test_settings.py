from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.errors import Invalid
from bastide.base.settings import describe, parse_url, prefix_of, read, refuse_unread
from bastide.town import all_settings


class Settings(msgspec.Struct, frozen=True):
    length: Annotated[int, msgspec.Meta(ge=1, le=64, description="of a code")] = 7
    ratio: float = 0.5
    strict: Annotated[bool, msgspec.Meta(description="whether")] = False
    name: str = "mill"


@given(
    length=st.integers(1, 64),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    strict=st.booleans(),
    name=st.text(),
)
def test_what_is_written_is_what_is_read(
    length: int, ratio: float, strict: bool, name: str
) -> None:
    environ = {
        "BASTIDE_MILL_LENGTH": str(length),
        "BASTIDE_MILL_RATIO": repr(ratio),
        "BASTIDE_MILL_STRICT": str(strict).lower(),
        "BASTIDE_MILL_NAME": name,
        "BASTIDE_OTHER_LENGTH": "9",
    }
    assert read(Settings, "BASTIDE_MILL", environ) == Settings(length, ratio, strict, name)


def test_what_is_absent_keeps_its_default() -> None:
    assert read(Settings, "BASTIDE_MILL", {}) == Settings()


@pytest.mark.parametrize(
    ("field", "value"),
    [("LENGTH", "0"), ("LENGTH", "65"), ("LENGTH", "x"), ("LENGTH", ""), ("LENGTH", "1.5"),
     ("RATIO", "half"), ("STRICT", "maybe")],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_variable(field: str, value: str) -> None:
    with pytest.raises(Invalid, match=f"^BASTIDE_MILL_{field}={value}: "):
        read(Settings, "BASTIDE_MILL", {f"BASTIDE_MILL_{field}": value})


@pytest.mark.parametrize("length", [1, 64])
def test_a_bound_itself_is_allowed(length: int) -> None:
    assert read(Settings, "BASTIDE_MILL", {"BASTIDE_MILL_LENGTH": str(length)}).length == length


def test_settings_describe_themselves_in_their_order() -> None:
    described = describe(Settings, prefix_of("mill"))
    assert [(s.variable, s.default, s.meaning) for s in described] == [
        ("BASTIDE_MILL_LENGTH", "7", "of a code"),
        ("BASTIDE_MILL_RATIO", "0.5", ""),
        ("BASTIDE_MILL_STRICT", "false", "whether"),
        ("BASTIDE_MILL_NAME", "mill", ""),
    ]


def test_every_default_that_is_described_can_be_written_back() -> None:
    described = describe(Settings, "BASTIDE_MILL")
    assert read(Settings, "BASTIDE_MILL", {s.variable: s.default for s in described}) == Settings()


def test_an_unread_variable_is_refused_with_the_nearest_name() -> None:
    known = ["BASTIDE_HTTP", "BASTIDE_SHORTENER_CODE_LENGTH"]
    with pytest.raises(Invalid, match=r"did you mean BASTIDE_SHORTENER_CODE_LENGTH$"):
        refuse_unread({"BASTIDE_SHORTENER_CODE_LENGHT": "7"}, known)
    with pytest.raises(Invalid, match=r"`bastide env` lists what is read$"):
        refuse_unread({"BASTIDE_ZZZ": "7"}, known)


def test_variables_that_are_read_or_not_ours_pass() -> None:
    refuse_unread({"BASTIDE_HTTP": "x", "HOME": "y", "XBASTIDE_A": "z"}, ["BASTIDE_HTTP"])


def test_every_setting_of_every_system_says_what_it_means() -> None:
    settings = [s for one in all_settings().values() for s in one]
    assert [s.variable for s in settings if not s.meaning] == []


def test_no_two_settings_share_a_variable() -> None:
    variables = [s.variable for one in all_settings().values() for s in one]
    assert len(variables) == len(set(variables))


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pool_max: Annotated[int, msgspec.Meta(ge=1)] = 10


def test_a_backend_url_is_split_once() -> None:
    url = parse_url("postgres://user:word@host:5432/town?pool_max=20")
    assert (url.scheme, url.location) == ("postgres", "user:word@host:5432/town")
    assert url.options(Options) == Options(20)


@pytest.mark.parametrize("text", ["postgres://u:word@host/town?password=word", "x://:word@h:1/a"])
def test_a_url_that_is_shown_hides_its_secrets(text: str) -> None:
    assert "word" not in parse_url(text).safe


@pytest.mark.parametrize("text", ["", "sqlite", "/a/b", "a b"])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is no URL"):
        parse_url(text)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(Invalid, match="an option is given twice"):
        parse_url("sqlite://?a=1&a=2")


@pytest.mark.parametrize("query", ["pool=1", "pool_max=0", "pool_max=many", "pool_max="])
def test_a_wrong_option_is_refused_and_the_secret_not_repeated(query: str) -> None:
    with pytest.raises(Invalid, match=r"^postgres://host/town: ") as refused:
        parse_url(f"postgres://user:word@host/town?{query}").options(Options)
    assert "word" not in str(refused.value)
