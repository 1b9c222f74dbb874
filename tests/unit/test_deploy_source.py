"""Addresses of repositories: taken apart, let in by the right token, refused without their password."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.deploy import source
from appliance.deploy.source import Login, OwnToken, Source, Transport, choose_login, parse_source
from appliance.errors import DeploymentRejected


@pytest.mark.parametrize(
    ("git_url", "expected"),
    [
        ("https://git.test/r.git", Source("https://git.test/r.git", Transport.HTTP, "https://git.test")),
        (
            "https://user:p%40ss@git.test:8443/r.git",
            Source("https://git.test:8443/r.git", Transport.HTTP, "https://git.test:8443", "user", "p@ss"),
        ),
        ("https://tok@git.test/r", Source("https://git.test/r", Transport.HTTP, "https://git.test", "tok")),
        ("http://[::1]:80/r", Source("http://[::1]:80/r", Transport.HTTP, "http://[::1]:80")),
        ("ssh://git:secret@git.test:22/r", Source("ssh://git@git.test:22/r", Transport.SSH)),
        ("git@git.test:team/r.git", Source("git@git.test:team/r.git", Transport.SSH)),
        ("git.test:r", Source("git.test:r", Transport.SSH)),
        ("git://git.test/r", Source("git://git.test/r", Transport.GIT)),
        ("git://user:secret@git.test/r", Source("git://git.test/r", Transport.GIT)),
        ("file:///srv/r.git", Source("file:///srv/r.git", Transport.LOCAL)),
        ("/srv/r.git", Source("/srv/r.git", Transport.LOCAL)),
        ("./a:b", Source("./a:b", Transport.LOCAL)),
    ],
)
def test_an_address_is_taken_apart_and_has_no_secret_left(git_url: str, expected: Source) -> None:
    found = parse_source(git_url)

    assert found == expected
    assert "p@ss" not in repr(found)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "git_url",
    [
        "",
        "-oProxyCommand=x",
        "ext::sh -c x",
        "ext::sh",
        "fd::17",
        "https://user:canary@/r",
        "https://user:canary@host:port/r",
        "https://user:canary@host/a b",
        "https://user:canary@host/a\nb",
        "https://user:canary@[::1/r",
        "ftp://user:canary@host/r",
        "javascript://x",
        "ssh://user:canary@-oProxyCommand=x/r",
        "ssh://",
        "git@-oProxyCommand=x:r",
        "-oProxyCommand=x:r",
        "ssh://user:canary@[::1/r",
        "user:canary@git.test:r",
        "ftp://git.test/r?token=canary",
    ],
)
def test_an_address_that_git_must_not_see_is_refused_without_its_password(git_url: str) -> None:
    with pytest.raises(DeploymentRejected, match=r"deployment\.git_url: .* must be an https") as refused:
        parse_source(git_url)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "git_url",
    ["https://git.test/r.git?private_token=canary", "https://bob:canary@git.test/r?a=canary@b&c=canary#d"],
)
def test_a_query_would_be_an_argument_and_is_refused_without_what_it_says(git_url: str) -> None:
    with pytest.raises(DeploymentRejected, match=r"'https://git\.test/r(\.git)?\?…' has a query") as refused:
        parse_source(git_url)
    assert "canary" not in str(refused.value)


@given(st.text(max_size=30), st.sampled_from(["", "https://", "ssh://", "http://u:p@", "git@"]))
def test_whatever_the_address_it_is_taken_or_refused(text: str, scheme: str) -> None:
    try:
        found = parse_source(scheme + text)
    except DeploymentRejected:
        return
    assert not found.url.startswith("-")
    assert found.url.isprintable() or not found.url.isascii()


HTTPS = parse_source("https://git.test/r.git")
WITH_PASSWORD = parse_source("https://bob:urls@git.test/r.git")
WITH_USER = parse_source("https://bob@git.test/r.git")


@pytest.mark.parametrize(
    ("where", "servers", "ours", "user", "password"),
    [
        (HTTPS, "servers", "ours", "x-access-token", "servers"),
        (HTTPS, "", "ours", "x-access-token", "ours"),
        (HTTPS, None, " ours\n", "x-access-token", "ours"),
        (WITH_PASSWORD, "servers", "ours", "bob", "servers"),
        (WITH_PASSWORD, None, "ours", "bob", "urls"),
        (WITH_USER, None, "ours", "bob", "ours"),
        (WITH_USER, None, None, "bob", ""),
        (parse_source("https://bitbucket.org/r"), "servers", None, "x-token-auth", "servers"),
    ],
)
def test_the_servers_token_wins_over_the_urls_and_that_over_ours(
    where: Source, servers: str | None, ours: str | None, user: str, password: str
) -> None:
    login, own = choose_login(where, servers, ours, ("git.test",))

    assert login == Login(where.origin, user, password)
    assert (own is OwnToken.SENT) == (password == "ours")


@pytest.mark.parametrize(
    ("url", "hosts", "own"),
    [
        ("https://git.test/r", None, OwnToken.SENT_UNNAMED),
        ("http://git.test/r", None, OwnToken.WITHHELD),
        ("https://git.test/r", ("git.test",), OwnToken.SENT),
        ("http://git.test/r", ("git.test",), OwnToken.SENT),
        ("http://git.test:3000/r", ("git.test",), OwnToken.SENT),
        ("https://GIT.test/r", ("git.test:443",), OwnToken.SENT),
        ("https://git.test:3000/r", ("other.test", "git.test:3000"), OwnToken.SENT),
        ("https://git.test:3000/r", ("git.test:443",), OwnToken.WITHHELD),
        ("http://git.test/r", ("git.test:443",), OwnToken.WITHHELD),
        ("https://git.test.evil.test/r", ("git.test",), OwnToken.WITHHELD),
        ("https://evil.test/git.test", ("git.test",), OwnToken.WITHHELD),
        ("https://git.test@evil.test/r", ("git.test",), OwnToken.WITHHELD),
        ("https://[::1]:8443/r", ("[::1]",), OwnToken.SENT),
    ],
)
def test_our_own_token_goes_only_to_hosts_that_are_named_for_it(
    url: str, hosts: tuple[str, ...] | None, own: OwnToken
) -> None:
    login, found = choose_login(parse_source(url), None, "ours", hosts)

    assert found is own
    assert (login is not None and login.password == "ours") == (own is not OwnToken.WITHHELD)


def test_the_servers_token_and_the_urls_go_where_the_server_says() -> None:
    assert choose_login(HTTPS, "servers", "ours", ())[1] is OwnToken.UNUSED
    assert choose_login(WITH_PASSWORD, None, "ours", ())[0] == Login("https://git.test", "bob", "urls")


@pytest.mark.parametrize("url", ["git@git.test:r", "ssh://git.test/r", "file:///r", "/r", "git://git.test/r"])
def test_a_token_is_for_http_only(url: str) -> None:
    assert choose_login(parse_source(url), "servers", "ours", None) == (None, OwnToken.UNUSED)


def test_without_any_token_there_is_no_login() -> None:
    assert choose_login(HTTPS, None, None, None) == (None, OwnToken.UNUSED)


@pytest.mark.parametrize("token", ["two\nlines", "nul\0", "tab\there"])
def test_a_token_that_would_end_gits_line_early_is_refused_unseen(token: str) -> None:
    with pytest.raises(DeploymentRejected, match="control characters") as refused:
        choose_login(HTTPS, token, None, None)
    assert token not in str(refused.value)


@pytest.mark.parametrize("ref", ["main", "release/1.x", "v1.0", "feature/a-b_c", "ünï", "a@b", "HEAD"])
def test_a_branch_git_allows_is_allowed(ref: str) -> None:
    assert source.check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-x",
        "--upload-pack=x",
        "a..b",
        "a b",
        "a:b",
        "a~1",
        "a^",
        "a*",
        "a?",
        "a[",
        "a\\b",
        "@",
        "a@{1}",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.",
        "a.lock",
        "a.lock/b",
        "a\x7f",
        "a\n",
    ],
)
def test_a_branch_git_forbids_is_refused(ref: str) -> None:
    with pytest.raises(DeploymentRejected, match="cannot be the name of a branch or tag"):
        source.check_ref(ref)


@pytest.mark.parametrize(
    ("path", "clean"),
    [("", ""), (".", ""), ("a", "a"), ("./a//b/", "a/b"), ("a b/ü", "a b/ü"), ("..a", "..a")],
)
def test_a_path_inside_is_cleaned(path: str, clean: str) -> None:
    assert source.check_inside("option", path) == clean


@pytest.mark.parametrize(
    "path", ["/a", "..", "a/../../b", "~/a", "-a", ".git", "a/.GIT/hooks", "a\\b", "a\nb", "a\0"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(
        DeploymentRejected, match=r"^option: .* must be a relative path inside the repository"
    ):
        source.check_inside("option", path)
