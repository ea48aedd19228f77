"""Tokens, quoted strings and lists: RFC 9110, section 5.6."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.routes.fields import QUOTED, TOKEN, is_token, listed, unquoted

TCHARS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
tokens = st.text(TCHARS, min_size=1, max_size=8)
quotable = st.text(
    st.sampled_from([chr(n) for n in (9, *range(0x20, 0x7F), *range(0x80, 0x100))]), max_size=12
)
gaps = st.lists(st.sampled_from(["", " ", "\t", ",", " ,"]), max_size=4).map("".join)

WORD = re.compile(TOKEN)
EITHER = re.compile(rf"{TOKEN}|{QUOTED}")


def quoted(text):
    return '"' + "".join(f"\\{c}" if c in '"\\' else c for c in text) + '"'


def words(text, *, members_max=100):
    found = listed(text, WORD, members_max=members_max)
    return found if found is None else [match[0] for match in found]


@given(st.characters(max_codepoint=0x2FF))
def test_a_character_is_of_a_token_if_the_grammar_lists_it(character):
    """5.6.2: "any VCHAR, except delimiters"."""
    assert is_token(character) == (character in TCHARS)


def test_an_empty_text_is_no_token():
    assert not is_token("")


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("foo,bar", ["foo", "bar"]),  # the three examples of 5.6.1.2
        ("foo ,bar,", ["foo", "bar"]),
        ("foo , ,bar,charlie", ["foo", "bar", "charlie"]),
        ("", []),  # and the three that hold no element
        (",", []),
        (",   ,", []),
        ("\t, foo\t,\tbar ", ["foo", "bar"]),
        ("foo bar", None),
        ("foo;bar", None),
        ("foo,\nbar", None),
        ("foo\n", None),
        ("foo,\xa0bar", None),
        ("(", None),
    ],
)
def test_a_list_is_read_as_a_recipient_must(text, elements):
    assert words(text) == elements


@given(st.lists(tokens, max_size=6), st.data())
def test_empty_elements_and_white_space_count_for_nothing(members, data):
    """5.6.1.2: "Empty elements do not contribute to the count of elements present"."""
    text = data.draw(gaps)
    for place, member in enumerate(members):
        text += ("," if place else "") + data.draw(gaps) + member + data.draw(gaps)
    assert words(text) == members


@given(st.lists(st.one_of(tokens, quotable.map(quoted)), max_size=6))
def test_a_comma_inside_a_quoted_string_ends_no_element(members):
    found = listed(", ".join(members), EITHER, members_max=6)
    assert found is not None
    assert [match[0] for match in found] == members


@given(st.text('a", \t\\\x7f', max_size=12))
def test_a_list_is_what_the_grammar_expands_to(text):
    """5.6.1.2: #element => [ element ] *( OWS "," OWS [ element ] ), in a trimmed value (5.5)."""
    element = r'(?:[a]+|"(?:[\t a,]|\\["\\\t a,])*")'
    grammar = re.compile(rf"(?:{element})?(?:[ \t]*,[ \t]*(?:{element})?)*")
    found = listed(text, EITHER, members_max=20)
    assert (found is not None) == (grammar.fullmatch(text.strip(" \t")) is not None)


def test_a_list_has_so_many_members_and_no_more():
    assert words("a,b,c", members_max=3) == ["a", "b", "c"]
    assert words("a,b,c,,,", members_max=3) == ["a", "b", "c"]
    assert words("a,b,c,d", members_max=3) is None


@given(quotable)
def test_a_quoted_string_says_what_was_quoted(text):
    assert unquoted(quoted(text)) == text


def test_every_quoted_pair_is_replaced_by_what_follows_the_backslash():
    """5.6.4: "as if it were replaced by the octet following the backslash"."""
    assert unquoted(r'"\a\"\\\	"') == 'a"\\\t'


@given(tokens)
def test_quoted_and_unquoted_values_are_equivalent(token):
    """5.6.6."""
    assert unquoted(token) == unquoted(quoted(token)) == token


@pytest.mark.parametrize(
    "text", ["", '"', '"a', 'a"', '"a"b', '"a""', '"\\"', '"\n"', '"\x7f"', '"\\\x00"', "a b"]
)
def test_what_is_neither_token_nor_quoted_string_says_nothing(text):
    assert unquoted(text) is None
