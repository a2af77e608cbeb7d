"""The network's variables: what each spelling becomes, what cannot be done, and that the libraries agree afterwards."""

import os
from pathlib import Path

import httpcore
import httpx
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_entra.microsoft.network import proxied, settle

HOSTS = ("login.microsoftonline.com", "graph.microsoft.com", "intake.sekoia.io")

ADDRESSES = {
    "http://proxy:3128": "http://proxy:3128",
    "proxy:3128": "http://proxy:3128",
    "proxy": "http://proxy",
    "HTTP://Proxy:3128/": "http://proxy:3128",
    "https://proxy:3129": "https://proxy:3129",
    " 'http://proxy:3128' ": "http://proxy:3128",
    "svc:password@proxy:3128": "http://svc:password@proxy:3128",
    "http://svc:p@ss:w%2Frd@proxy:3128": "http://svc:p%40ss%3Aw%2Frd@proxy:3128",
    "http://dom%5Csvc:100%@proxy:3128": "http://dom%5Csvc:100%25@proxy:3128",
    "10.0.0.1:3128": "http://10.0.0.1:3128",
    "[fd00::1]:3128": "http://[fd00::1]:3128",
    "": "",
}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize(("given_as", "becomes"), ADDRESSES.items())
def test_an_address_of_a_proxy(name: str, given_as: str, becomes: str) -> None:
    """As curl takes it, in every variable; settled twice is settled once."""
    environment = {name: given_as}
    assert settle(environment) is None
    assert environment == {name: becomes}
    assert settle(environment) is None
    assert environment == {name: becomes}


REFUSED = {
    "socks5://proxy:1080": "SOCKS",
    "socks5h://svc:hush@proxy:1080": "SOCKS",
    "SOCKS4://proxy": "SOCKS",
    "ftp://proxy:21": "http://host:port",
    "http://": "http://host:port",
    "http://proxy:port": "http://host:port",
    "http://proxy:99999": "http://host:port",
    "http://svc:hu#sh@proxy:3128": "%23 for a #",
    "http://svc:hu/sh@proxy:3128": "%2F for a slash",
    "http://svc:hu?sh@proxy:3128": "%3F for a question mark",
    "http://svc:hush@proxy:3128/path": "http://host:port",
    "http://proxy one:3128": "http://host:port",
}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(("value", "says"), REFUSED.items())
def test_what_cannot_be_done_is_said_and_names_the_variable(name: str, value: str, says: str) -> None:
    """One sentence, without the value: it may hold a password."""
    environment = {name: value, "NO_PROXY": "x"}
    sentence = settle(environment)
    assert sentence is not None
    assert environment == {"NO_PROXY": "x"}, "the sentence itself has to get out"
    assert sentence.startswith(f"{name} ")
    assert says in sentence
    assert sentence.endswith(".")
    assert not any(part in sentence for part in ("hush", "hu#sh", "hu/sh", "hu?sh", "svc"))


@pytest.mark.parametrize(
    ("environment", "left"),
    [
        (
            {"HTTPS_PROXY": "proxy:1", "ALL_PROXY": "socks5://p:2"},
            {"HTTPS_PROXY": "http://proxy:1"},
        ),
        ({"HTTPS_PROXY": "proxy:1", "http_proxy": "ftp://p"}, {"HTTPS_PROXY": "http://proxy:1"}),
        (
            {"https_proxy": "proxy:1", "HTTPS_PROXY": "socks5://p:2"},
            {"https_proxy": "http://proxy:1"},
        ),
    ],
)
def test_what_decides_nothing_does_not_stop_it(environment: dict[str, str], left: dict[str, str]) -> None:
    """A desktop sets ALL_PROXY for others; where HTTPS_PROXY is set too, nobody here would ask it."""
    assert settle(environment) is None
    assert environment == left


EXCEPTIONS = {
    "127.0.0.1,fd00::/8": "127.0.0.1",
    "localhost,[::1]": "localhost,::1",
    "::1, fe80::1%eth0": "::1",
    "localhost 127.0.0.1;.corp.example": "localhost,127.0.0.1,.corp.example",
    "*.corp.example": ".corp.example",
    "localhost,*": "*",
    "10.0.0.0/8,10.1.2.3": "10.0.0.0/8,10.1.2.3",
    "https://graph.microsoft.com/": "graph.microsoft.com",
    "graph.microsoft.com:443,intake:8443": "graph.microsoft.com,intake:8443",
    "<local>,http://,::/0,999.1.1.1/40,b\u00fccher.example": "",
    "a,a,,a": "a",
    '"a,b"': "a,b",
    "": "",
}


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(("given_as", "becomes"), EXCEPTIONS.items())
def test_exceptions_that_a_library_cannot_read_are_left_out(name: str, given_as: str, becomes: str) -> None:
    """They could only match an address, and Microsoft is asked by name."""
    environment = {name: given_as, "HTTPS_PROXY": "http://proxy:1"}
    assert settle(environment) is None
    assert environment[name] == becomes


entries = st.text(alphabet="abc.:/*[]%<>0129-_ ,;@#?\u00fc", max_size=12)


@settings(deadline=None, max_examples=300)
@given(
    exceptions=st.lists(entries, max_size=4).map(",".join),
    proxy=st.one_of(entries, st.sampled_from(sorted(ADDRESSES) + sorted(REFUSED))),
    name=st.sampled_from(["HTTPS_PROXY", "all_proxy"]),
)
def test_what_is_settled_every_library_starts_with_and_goes_the_same_way(
    exceptions: str, proxy: str, name: str
) -> None:
    """Whatever the variables hold: a sentence, or httpx starts, and httpx and requests go the same way."""
    with pytest.MonkeyPatch.context() as patch:
        clear(patch)
        environment = {"NO_PROXY": exceptions, name: proxy}
        if settle(environment) is not None:
            return
        for variable, value in environment.items():
            patch.setenv(variable, value)
        client = httpx.AsyncClient(verify=False)
        for host in HOSTS:
            url = f"https://{host}/"
            way = client._transport_for_url(httpx.URL(url))
            through = isinstance(way._pool, httpcore.AsyncHTTPProxy)  # type: ignore[attr-defined]
            assert through is proxied(host)
            got = requests.Session().merge_environment_settings(url, {}, None, None, None)["proxies"]
            assert bool(got.get("https") or got.get("all")) is through


def clear(patch: pytest.MonkeyPatch) -> None:
    """No variable of the machine's own."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            patch.delenv(name)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_file_of_authorities_that_is_not_there(name: str, tmp_path: Path) -> None:
    """The variable and the file are named."""
    missing = tmp_path / "authorities.pem"
    environment = {name: str(missing)}
    sentence = settle(environment)
    assert environment == {}, "the sentence itself has to get out"
    assert sentence == (
        f"{name} names {missing}, which cannot be read (no such file or directory). Name a file that is there, or "
        f"unset {name}."
    )
    missing.write_text("no certificates")
    assert settle({name: str(missing)}) == (
        f"{name} names {missing}, which holds no certificates in PEM form. Name a file that does."
    )
    assert settle({name: ""}) is None


def test_a_folder_of_authorities(tmp_path: Path) -> None:
    """requests takes one, httpx does not."""
    assert settle({"REQUESTS_CA_BUNDLE": str(tmp_path)}) is None
    assert "SSL_CERT_FILE" in str(settle({"SSL_CERT_FILE": str(tmp_path)}))
