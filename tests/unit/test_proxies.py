"""Which proxy is between the worker and its server, whatever the variables hold."""

import pytest

from appliance.control.proxies import proxy_for

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY}, None),
        ({"ALL_PROXY": "proxy:3128"}, PROXY),
        ({"HTTP_PROXY": "http://upper:1", "http_proxy": PROXY, "all_proxy": "http://all:1"}, PROXY),
        ({"HTTP_PROXY": " "}, None),
        # One that the address does not need is nobody's business.
        ({"HTTPS_PROXY": "socks5://s:1", "HTTP_PROXY": PROXY}, PROXY),
        ({"ALL_PROXY": "socks5://s:1", "NO_PROXY": "10.0.0.0/8"}, None),
    ],
)
def test_the_schemes_own_variable_comes_first(environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for("http://10.1.2.3:8081/x", environ) == proxy


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("http://10.1.2.3", "fe80::/10, 10.0.0.0/8", True),
        ("http://10.1.2.3", "fe80::/10,::1,[fd00::]/8", False),
        ("http://[fe80::1]:8081", "fe80::/10", True),
        ("http://[fd00::1]:8081", "[fd00::1]:8081", True),
        ("http://[fd00::1]:8081", "[fd00::1]:1", False),
        ("http://[::1]", "[::1]", True),
        ("http://runqy.example.com", "example.com", True),
        ("http://runqy.example.com", ".EXAMPLE.com", True),
        ("http://runqy.example.com", "*.example.com", True),
        ("http://notexample.com", "example.com", False),
        ("http://runqy:8081", "runqy:8081", True),
        ("http://runqy:8081", "runqy:9", False),
        ("http://runqy", "*", True),
        ("http://runqy", " , ]x[, 1.2.3.4/99, ::/999", False),
    ],
)
def test_no_proxy_takes_names_domains_addresses_and_ranges(url: str, no_proxy: str, direct: bool) -> None:
    assert (proxy_for(url, {"HTTP_PROXY": PROXY, "NO_PROXY": no_proxy}) is None) is direct


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (
            "socks5://user:canary@s:1",
            r"ALL_PROXY: a SOCKS proxy cannot be used: name an HTTP proxy .*, or runqy ",
        ),
        ("socks4a://canary", "SOCKS"),
        ("ftp://canary", "ALL_PROXY: must be the URL of an HTTP proxy, .*, not ftp://"),
        ("http://[::1", "must be the URL of an HTTP proxy"),
        ("http://canary:port", "must be the URL of an HTTP proxy"),
        ("http://", "must be the URL of an HTTP proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable_and_not_shown(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        proxy_for("http://runqy", {"ALL_PROXY": value})

    assert "canary" not in str(caught.value)
