"""A secret is masked in whatever form a program prints it, at a cost that does not grow with their number."""

import base64
import html
import json
import shlex
import textwrap
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.masking.forms import forms
from appliance.masking.matcher import MASK, Matcher, masked
from appliance.masking.parts import is_secret, parts
from appliance.masking.text import mask_urls, without_escapes, without_invisible
from appliance.observe.redaction import Redactor

#: With what each way of writing escapes.
AWKWARD = "p/ss+w\"o'r\\d&<é>%=x"
BODY = [base64.b64encode(bytes(range(n, n + 48))).decode() for n in range(0, 96, 16)]
PEM = "\n".join(("-----BEGIN PRIVATE KEY-----", *BODY, "-----END PRIVATE KEY-----", ""))


def redactor(*secrets: str) -> Redactor:
    found = Redactor()
    found.add(*secrets)
    return found


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON with all letters": lambda s: json.dumps(s, ensure_ascii=False),
    "JSON in JSON": lambda s: json.dumps(json.dumps({"key": s})),
    "JSON of PHP": lambda s: json.dumps(s).replace("/", "\\/"),
    "JSON of Go": lambda s: json.dumps(s).translate({60: "\\u003c", 62: "\\u003e", 38: "\\u0026"}),
    "repr": repr,
    "repr beside both quotes": lambda s: repr(s + "\"'"),
    "ascii": ascii,
    "repr of bytes": lambda s: repr(s.encode()),
    "URL": lambda s: f"https://host/?q={quote(s, safe='')}",
    "URL with slashes": quote,
    "form": quote_plus,
    "URL in lower case": lambda s: quote(s, safe="").replace("%2F", "%2f").replace("%3C", "%3c"),
    "HTML": html.escape,
    "HTML outside of attributes": lambda s: html.escape(s, quote=False),
    "HTML of Jinja": lambda s: html.escape(s).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "shell": shlex.quote,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 behind one byte": lambda s: base64.b64encode(b":" + s.encode() + b"!").decode(),
    "base64 behind two bytes": lambda s: base64.b64encode(b"u:" + s.encode() + b"??").decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "hex": lambda s: s.encode().hex(),
    "hex in upper case": lambda s: s.encode().hex().upper(),
}


@pytest.mark.parametrize("secret", [AWKWARD, "hunter2-and-more", "🔑🔑🔑🔑 four keys", "a'b'c'd"])
@pytest.mark.parametrize("way", WRITTEN)
def test_a_secret_is_masked_however_it_is_written(way: str, secret: str) -> None:
    written = WRITTEN[way](secret)

    shown = redactor(secret).text(f"before {written} after")

    assert MASK in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    # Of base64 the characters at the edges also hold bits of what stands around the secret.
    assert len(shown.replace(MASK, "")) - len("before  after") <= len(written) - len(secret) + 4
    assert not any(form in shown for form in forms(secret))


@given(st.text(min_size=4, max_size=40).filter(is_secret), st.text(max_size=5), st.text(max_size=5))
def test_no_form_of_any_secret_is_left_whatever_stands_around_it(
    secret: str, before: str, after: str
) -> None:
    matcher = Matcher()
    matcher.add(forms(secret))

    for form in forms(secret):
        assert form not in masked(before + form + after, [matcher]) or form in MASK


@pytest.mark.parametrize(
    "shown",
    [
        PEM,
        PEM.replace("\n", "\r\n"),
        PEM.replace("\n", " "),
        PEM.replace("\n", ""),
        json.dumps({"private_key": PEM}),
        repr(PEM),
        base64.b64encode(PEM.encode()).decode(),
        base64.encodebytes(PEM.encode()).decode(),
        PEM.encode().hex(),
    ],
    ids=["lines", "CRLF", "blanks", "joined", "JSON", "repr", "base64", "base64 in lines", "hex"],
)
@pytest.mark.parametrize("vault", [PEM, json.dumps({"type": "service_account", "private_key": PEM})])
def test_no_line_of_a_key_is_left_however_it_is_printed(vault: str, shown: str) -> None:
    clean = redactor(vault).text

    # Line by line, as the output of a process comes.
    left = "\n".join(map(clean, shown.splitlines()))

    for line in BODY:
        for form in forms(line):
            assert not any(form[at : at + 12] in left for at in range(0, len(form) - 12, 4))


def test_the_frame_of_a_key_is_no_secret() -> None:
    assert redactor(PEM).text("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_the_leaves_of_a_json_vault_are_masked_by_themselves_and_its_keys_are_not() -> None:
    vault = {"user": {"names": ["tr0ubador", "x"]}, "id": 1029384756, "port": 8080, "on": True, "off": None}

    shown = redactor(json.dumps(vault)).text("user tr0ubador id 1029384756 port 8080 names x True None")

    assert shown == f"user {MASK} id {MASK} port 8080 names x True None"


@pytest.mark.parametrize(
    ("vault", "password"),
    [
        ("postgres://me:s3cr%2Ft@db/tasks", "s3cr/t"),
        ("postgres://me:s3cr%2Ft@db/tasks", "s3cr%2Ft"),
        ("host=db user=me password=s3cr3t dbname=tasks", "s3cr3t"),
        ("Server=db;User Id=me;Password=s3cr3t;", "s3cr3t"),
        ("DEBUG=1\nexport DB_PASSWORD='s3 cr3t'\n", "s3 cr3t"),
        ("api:\n  token: s3cr3t\n", "s3cr3t"),
    ],
)
def test_the_password_in_an_address_or_in_settings_is_masked_by_itself(vault: str, password: str) -> None:
    assert redactor(vault).text(f"it is {password}.") == f"it is {MASK}."


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mhun\x1b[0m\x1b[1;32mter2\x1b[0m-and-more",
        "hunter2\x1b]8;;https://example.com\x1b\\-and-\x1b]8;;\x07more",
        "hun\x9b31mter2-and-more",
        "hunter2\u200b-and-\ufeffmore",
        "h\x00u\x00n\x00t\x00e\x00r\x002\x00-\x00a\x00n\x00d\x00-\x00m\x00o\x00r\x00e",
    ],
    ids=["colours", "links", "one-byte escapes", "without width", "NULs"],
)
def test_what_does_not_show_hides_no_secret(text: str) -> None:
    assert redactor("hunter2-and-more").text(text) == MASK


def test_characters_without_width_stay_where_they_hide_nothing() -> None:
    family = "👨\u200d👩\u200d👧 and \u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"

    assert redactor("hunter2-and-more").text(family) == family


def test_colours_go_and_what_they_coloured_stays() -> None:
    assert Redactor().text("\x1b[1;31mERROR\x1b[0m: \x1b(Bno disk\x1b[K") == "ERROR: no disk"


LONG = "".join(
    base64.b32encode(bytes([n, n * 7 % 256, n * 31 % 256, 255 - n, n ^ 85])).decode() for n in range(250)
)


@pytest.mark.parametrize(
    "form", [str, lambda s: base64.b64encode(s.encode()).decode(), lambda s: s.encode().hex()]
)
def test_of_a_long_secret_every_piece_is_masked(form: Callable[[str], str]) -> None:
    clean = redactor(LONG).text
    written = form(LONG)

    assert clean(f"it is {written[100:160]}… and so on").startswith("it is ***")
    wrapped = [clean(line) for line in textwrap.wrap(written, 40)]
    assert set(wrapped) == {MASK} or {*wrapped[:-1]} == {MASK}


def test_a_secret_of_100_kilobytes_is_masked_where_a_line_is_cut_and_known_by_few_windows() -> None:
    secret = LONG * 52  # more than any line
    found = redactor(secret)

    assert found.text(secret) == MASK
    assert found.text(secret[30_000:46_384]) == MASK
    matcher = Matcher()
    matcher.add(forms("".join(chr(33 + n * n % 90) for n in range(100_000))))
    assert len(matcher._known) < 30 * 260


def test_secrets_that_lie_across_one_another_leave_nothing_of_either() -> None:
    assert redactor("abcd-efgh", "efgh-ijkl").text("x abcd-efgh-ijkl y") == f"x {MASK} y"


@pytest.mark.parametrize("secret", ["a", "ab", "abc", "\u00e9\u00e9\u00e9"])
def test_nothing_shorter_than_four_characters_is_masked_in_any_form(secret: str) -> None:
    # Three letters that no form may turn into something longer, either.
    text = f"{secret} {secret.encode().hex()} {base64.b64encode(secret.encode()).decode()} abcabc"

    assert redactor(secret, f"{secret}\n{secret}", json.dumps([secret, {"k": secret}])).text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Looking in indexes: https://user:pw@pypi.example/simple", f"https://{MASK}@pypi.example/simple"),
        ("git+https://ghp_x@github.com/a/b.git@v1", f"git+https://{MASK}@github.com/a/b.git@v1"),
        ("https://${TOKEN}@github.com/a/b", f"https://{MASK}@github.com/a/b"),
        ("https://u:p@ss@host/x", f"https://{MASK}@host/x"),
        ("redis://:pa/ss@cache:6379/0", f"redis://{MASK}@cache:6379/0"),
        ("postgresql+psycopg://me:a%20b@[::1]:5432/db", f"postgresql+psycopg://{MASK}@[::1]:5432/db"),
        ("two: https://a:b@c and ftp://d:e@f.", f"https://{MASK}@c and ftp://{MASK}@f."),
        ("GET https://h/x?access_token=abc&n=1", f"https://h/x?access_token={MASK}&n=1"),
        (
            "https://s3/x?X-Amz-Credential=AK%2F1&X-Amz-Signature=ab#f",
            f"Credential={MASK}&X-Amz-Signature={MASK}#f",
        ),
        ('<a href="/x?n=1&amp;api_key=abc">', f'n=1&amp;api_key={MASK}">'),
    ],
)
def test_user_info_and_secrets_in_an_address_are_masked_unknown_as_they_are(text: str, shown: str) -> None:
    assert mask_urls(text).endswith(shown)


@pytest.mark.parametrize(
    "text",
    [
        "ssh://git@github.com/a/b.git and git@github.com:a/b",
        "git+https://github.com/a/b.git@v1.2",
        "http://host:8080/@scope/package",
        "http://[::1]:8080/@scope",
        "https://host/x?page=2&monkeys=3&mail=me@example.com",
        '{"url":"https://host","mail":"a@b"}',
        "mail a@b or c://",
    ],
)
def test_an_address_without_secrets_stays(text: str) -> None:
    assert mask_urls(text) == text


def test_what_a_line_costs_does_not_grow_with_the_number_of_secrets() -> None:
    line = "INFO step 1234/5000 loss=0.2345 lr=3e-4 throughput 120.4 samples/s mem 12.3 GiB of 80"

    def cost(secrets: int) -> float:
        matcher = Matcher()
        for number in range(secrets):
            matcher.add(forms(f"{number:06d}{number * 7919:09d}Xy"))
        began = time.process_time()
        for _ in range(300):
            masked(line, [matcher])
        return time.process_time() - began

    # A tenfold allowance: what grows with their number costs five hundred times as much.
    assert min(cost(500) for _ in range(5)) < 10 * min(cost(1) for _ in range(5)) + 0.001


def test_a_hostile_value_ends_no_search() -> None:
    nested = "[" * 100_000 + "]" * 100_000

    assert parts(nested)[0] == nested
    assert parts("[" + "9" * 10_000 + "]")
    assert parts("https://[broken:pw@host")
    assert redactor("aaaa" * 25_000).text("a" * 20_000) == MASK


@pytest.mark.parametrize("unit", ["\x90", "\x9d", "\x1b]", "://a:b", "://a:1", "?a", "&token", "\x1b["])
def test_no_line_takes_time_that_grows_with_its_square(unit: str) -> None:
    line = (unit * 65_536)[:65_536]
    before_s = time.process_time()

    mask_urls(without_invisible(without_escapes(line)))

    # Where each character looked for an end, this took minutes; it takes a tenth of a second.
    assert time.process_time() - before_s < 20


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x90b\x9b1mc", "a\x90bc"),
        ("a\x1b]b\x1b[1mc", "abc"),
        ("a\x1b]b\x90c", "ab\x90c"),
        ("a\x1b]b\x07c\x1b]d", "acd"),
    ],
)
def test_of_a_string_that_never_ends_the_text_is_shown(text: str, shown: str) -> None:
    assert without_escapes(text) == shown
