"""The opening handshake: RFC 6455, 4.2, and RFC 7692, 7.1. The sections are quoted by number."""

import pytest

from bastide.base.errors import shown
from bastide.parts.http.websocket.contract import OriginRefused, UpgradeWrong, VersionWrong
from bastide.parts.http.websocket.frames import WINDOW_BITS
from bastide.parts.http.websocket.handshake import handshake

ASKED = {
    "host": "example.org",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}
DEFLATE = "permessage-deflate"
BOTH_ALONE = f"{DEFLATE}; server_no_context_takeover; client_no_context_takeover"


def asked(**changed):
    headers = {**ASKED, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return {name: value for name, value in headers.items() if value is not None}


def offered(offer):
    return handshake(asked(sec_websocket_extensions=offer))


def test_the_answer_to_the_key_of_the_rfc_is_that_of_the_rfc():
    # RFC 6455, 1.3
    agreed = handshake(ASKED)
    assert agreed.headers == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }
    assert agreed.subprotocol is None
    assert not agreed.deflates


def test_an_upgrade_may_stand_among_others_and_in_any_case():
    # RFC 6455, 4.2.1: "treated as an ASCII case-insensitive value"
    handshake(asked(upgrade="h2c, WebSocket", connection="keep-alive, upgrade"))


@pytest.mark.parametrize("name", ["upgrade", "connection", "sec_websocket_key"])
@pytest.mark.parametrize("value", [None, "", "something else"])
def test_a_request_that_is_no_opening_handshake_is_refused(name, value):
    with pytest.raises(UpgradeWrong, match=name.replace("_", "-")) as refused:
        handshake(asked(**{name: value}))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "key",
    [
        "AAAAAAAAAAAAAAAAAAAA",  # 15 bytes
        "AAAAAAAAAAAAAAAAAAAAAAA=",  # 17
        "AAAAAAAAAAAAAAAAAAAAAA",  # no padding
        "AAAAAAAAAAAAAAAAAAAA-_==",  # the other alphabet
        "AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA==",  # twice
        "ÄAAAAAAAAAAAAAAAAAAAAA==",
    ],
)
def test_a_key_is_sixteen_bytes_in_base64(key):
    # RFC 6455, 4.2.1, 5: "when decoded, is 16 bytes in length"
    with pytest.raises(UpgradeWrong, match="16 bytes"):
        handshake(asked(sec_websocket_key=key))


@pytest.mark.parametrize("version", [None, "", "8", "12", "14", "013", "13, 8", "13, 13"])
def test_another_version_is_refused_with_426_and_told_which_is_spoken(version):
    # RFC 6455, 4.2.2, 4: "send an appropriate HTTP error code (such as 426 Upgrade Required) and
    # a |Sec-WebSocket-Version| header field".
    with pytest.raises(VersionWrong) as refused:
        handshake(asked(sec_websocket_version=version))
    assert shown(refused.value).status == 426
    assert refused.value.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "origin", ["https://elsewhere.example", "null", "https://example.org.elsewhere.example", ""]
)
def test_a_page_of_another_site_is_refused(origin):
    # RFC 6455, 10.2
    with pytest.raises(OriginRefused) as refused:
        handshake(asked(origin=origin))
    assert shown(refused.value).status == 403
    with pytest.raises(OriginRefused):
        handshake(asked(origin=origin or "x", host=None))


def test_a_page_of_this_host_or_of_one_that_is_allowed_is_let_in():
    handshake(asked(origin="https://Example.org"))
    handshake(asked(origin="https://one.example"), origins=["https://one.example"])


def test_of_the_subprotocols_our_first_that_the_client_speaks_is_chosen():
    headers = asked(sec_websocket_protocol="chat, v2.chat ,v1.chat")
    agreed = handshake(headers, subprotocols=["v3.chat", "v2.chat", "chat"])
    assert agreed.subprotocol == agreed.headers["sec-websocket-protocol"] == "v2.chat"
    # RFC 6455, 4.2.2, 5: without one in common, or without a list, there is no header.
    assert "sec-websocket-protocol" not in handshake(headers, subprotocols=["else"]).headers
    assert handshake(ASKED, subprotocols=["chat"]).subprotocol is None


@pytest.mark.parametrize("names", ["", "a, a", "a b", "a;q=1", "a,", '"a"'])
def test_a_list_of_subprotocols_that_can_not_be_read_is_refused(names):
    # RFC 6455, 4.1, 10: tokens, and "MUST all be unique strings"
    with pytest.raises(UpgradeWrong, match="sec-websocket-protocol"):
        handshake(asked(sec_websocket_protocol=names), subprotocols=["a"])


@pytest.mark.parametrize(
    "offer",
    [
        DEFLATE,
        f"{DEFLATE}; client_max_window_bits",  # what browsers send
        f"{DEFLATE};client_max_window_bits=10",
        f'{DEFLATE} ; client_max_window_bits = "15"',
        f"{DEFLATE}; client_no_context_takeover; server_no_context_takeover",
        f"{DEFLATE.upper()}; Client_Max_Window_Bits",
        f"x-webkit-deflate-frame, {DEFLATE}",
        f"{DEFLATE}; server_max_window_bits=8, {DEFLATE}",
        f"{DEFLATE}; new_parameter, {DEFLATE}; client_max_window_bits",
    ],
)
def test_deflated_messages_are_agreed_on_with_no_context_kept_by_either_side(offer):
    # RFC 7692, 7.1.1.1: a server may add server_no_context_takeover "even if the client didn't
    # include" it; 7.1.1.2 says the same of client_no_context_takeover.
    agreed = offered(offer)
    assert agreed.deflates
    assert agreed.headers["sec-websocket-extensions"] == BOTH_ALONE


@pytest.mark.parametrize("bits", range(8, 16))
def test_a_client_may_ask_for_the_window_that_everybody_gets_or_a_larger_one(bits):
    # RFC 7692, 7.1.2.1: the reply has "the same or smaller value as the offer".
    agreed = offered(f"{DEFLATE}; server_max_window_bits={bits}")
    if bits >= WINDOW_BITS:
        window = f"{BOTH_ALONE}; server_max_window_bits={WINDOW_BITS}"
        assert agreed.headers["sec-websocket-extensions"] == window
    else:
        assert not agreed.deflates


@pytest.mark.parametrize(
    "parameters",
    [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits",
        "server_max_window_bits=16",
        "server_max_window_bits=012",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits=15; CLIENT_max_window_bits=15",
    ],
)
def test_an_offer_with_a_parameter_that_is_wrong_is_declined(parameters):
    # RFC 7692, 7: "A server MUST decline an extension negotiation offer" for each of these.
    agreed = offered(f"{DEFLATE}; {parameters}")
    assert not agreed.deflates
    assert "sec-websocket-extensions" not in agreed.headers


@pytest.mark.parametrize("offer", ["", ",", ";", f"{DEFLATE};", f"{DEFLATE}; a=", "a b", 'a; b="c'])
def test_a_list_of_extensions_that_can_not_be_read_is_refused(offer):
    # RFC 6455, 9.1: "If a value is received ... that does not conform to the ABNF below, the
    # recipient of such malformed data MUST immediately _Fail the WebSocket Connection_."
    with pytest.raises(UpgradeWrong, match="sec-websocket-extensions"):
        offered(offer)


@pytest.mark.parametrize("piece", [" ", "a", ";a", "; a=", "a,", "a ,", ' ; a = "b"', "\t;"])
def test_a_list_as_long_as_a_head_may_be_is_read_in_no_time(piece):
    """A pattern that tries each way twice would not come back within the test's time."""
    text = f"{DEFLATE}; a" + piece * (32_768 // len(piece)) + "("
    with pytest.raises(UpgradeWrong):
        offered(text)
    with pytest.raises(UpgradeWrong):
        handshake(asked(sec_websocket_protocol=text))
