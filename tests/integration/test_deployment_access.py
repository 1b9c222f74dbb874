"""Private repositories: let in by token or key, and neither is anywhere that others can look."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import DeploymentRejected
from harness.repo import make_repo
from tests.integration import deploying, private_git
from tests.integration.deploying import Rig
from tests.integration.private_git import PrivateHost, private_host

TOKEN = "canary-token-right"


@pytest.fixture(autouse=True)
def code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    deploying.without_environment(monkeypatch)


@pytest.fixture
def host(rig: Rig) -> Iterator[PrivateHost]:
    repo = make_repo(rig.folder / "private.git", {"a/main.py": "private", "b/main.py": "other"})
    with private_host(repo, TOKEN) as listening:
        yield listening


def everywhere(rig: Rig) -> str:
    """All the text that a deployment leaves: files, their names, log lines with the commands they show."""
    files = [path for path in rig.deployment.rglob("*") if path.is_file()]
    assert any(path.name == "config" for path in files)
    texts = [path.read_bytes().decode("latin-1") for path in files]
    return "\n".join([*map(str, files), *texts, *map(str, rig.events)])


@pytest.mark.parametrize("code_path", [None, "a"])
def test_the_right_token_opens_the_repository_and_is_left_nowhere(
    rig: Rig, host: PrivateHost, code_path: str | None
) -> None:
    deployed = rig.deploy(host.url(), token=TOKEN, spec={"code_path": code_path})

    assert (rig.clone / "a" / "main.py").read_text() == "private"
    assert set(host.asked) == {("x-access-token", TOKEN)}
    assert "canary" not in everywhere(rig)
    assert "canary" not in str(deployed)


def test_the_token_is_in_no_argument_and_not_in_our_own_environment(
    rig: Rig, host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = (rig.bin / "git").resolve()
    (rig.bin / "git").unlink()
    (rig.bin / "git").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {rig.folder}/argv\nexec {real} "$@"\n')
    (rig.bin / "git").chmod(0o755)

    rig.deploy(host.url(), token=TOKEN, spec={"code_path": "a"})

    arguments = (rig.folder / "argv").read_text()
    assert "ls-remote" in arguments
    assert "fetch" in arguments
    assert "canary" not in arguments
    assert "canary" not in str(os.environ)


def test_the_servers_token_wins_over_the_urls_and_that_over_ours(rig: Rig, host: PrivateHost) -> None:
    rig.deploy(host.url("someone:wrong"), token=f"{TOKEN}\n", own_token="wrong")
    assert set(host.asked) == {("someone", TOKEN)}

    host.asked.clear()
    rig.deploy(host.url(f"deployer:{TOKEN}"), own_token="wrong")
    assert set(host.asked) == {("deployer", TOKEN)}
    assert "canary" not in everywhere(rig)


def test_our_own_token_serves_where_the_server_has_none(rig: Rig, host: PrivateHost) -> None:
    rig.deploy(host.url(), own_token=TOKEN)

    assert set(host.asked) == {("x-access-token", TOKEN)}


@pytest.mark.parametrize("token", ["canary-wrong", None])
def test_a_wrong_token_or_none_is_refused_at_once(rig: Rig, host: PrivateHost, token: str | None) -> None:
    began = time.monotonic()

    with pytest.raises(DeploymentRejected, match=r"Authentication failed|could not read Username") as refused:
        rig.deploy(host.url(), token=token, retries=5)

    assert time.monotonic() - began < 10
    assert rig.logged("deploy.attempt_failed") == []
    assert len(host.asked) == (1 if token else 0)
    assert "canary" not in str(refused.value)
    assert "canary" not in str(rig.events)


def test_a_token_in_the_url_is_in_no_refusal(rig: Rig, host: PrivateHost) -> None:
    with pytest.raises(DeploymentRejected) as refused:
        rig.deploy(host.url("canary-user:canary-wrong"))

    assert "canary" not in str(refused.value)
    assert "canary" not in str(rig.events)


def test_a_token_is_shown_to_no_other_host(rig: Rig, host: PrivateHost) -> None:
    other = make_repo(rig.folder / "other.git", {"main.py": ""})
    with private_host(other, "x") as elsewhere:
        # The machine's owner has git go somewhere else.
        there, here = elsewhere.url(), host.url()
        (rig.folder / "home" / ".gitconfig").write_text(f'[url "{there}"]\n\tinsteadOf = {here}\n')

        with pytest.raises(DeploymentRejected):
            rig.deploy(here, token=TOKEN)

    assert elsewhere.asked == []


def test_helpers_of_the_machine_are_not_told_the_token(rig: Rig, host: PrivateHost) -> None:
    helper = rig.folder / "helper"
    helper.write_text(f"#!/bin/sh\ncat >> {rig.folder}/told\n")
    helper.chmod(0o755)
    (rig.folder / "home" / ".gitconfig").write_text(f"[credential]\n\thelper = {helper}\n")

    rig.deploy(host.url(), token=TOKEN)

    assert not (rig.folder / "told").exists()


def test_a_token_sent_in_the_clear_is_warned_about_once(rig: Rig, host: PrivateHost) -> None:
    rig.deploy(host.url(), token=TOKEN)

    (warning,) = rig.logged("deploy.token_unencrypted")
    assert warning["origin"] == f"http://127.0.0.1:{host.port}"


def ssh_key(rig: Rig, mode: int) -> Path:
    key = rig.folder / "id with space"
    key.write_text("the key\n")
    key.chmod(mode)
    return key


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("form", ["ssh://git@host.test:2222{}", "git@host.test:{}"])
def test_an_ssh_repository_is_opened_with_the_key_whatever_its_mode(rig: Rig, form: str, mode: int) -> None:
    repo = rig.repo(main_py="by ssh")
    private_git.fake_ssh(rig.bin / "ssh", rig.folder / "ssh")
    (rig.bin / "cp").symlink_to("/bin/cp")
    key = ssh_key(rig, mode)

    rig.deploy(form.format(repo.folder), ssh_key=key, token="canary-unused")

    assert rig.text() == "by ssh"
    words = (rig.folder / "ssh").read_text().splitlines()
    used = Path(words[words.index("-i") + 1])
    assert {"git@host.test", "BatchMode=yes", "IdentitiesOnly=yes"} <= set(words)
    shown = rig.folder / "ssh.key"
    assert shown.read_text() == "the key\n"
    assert stat.S_IMODE(shown.stat().st_mode) == 0o600
    assert (used == key) == (mode == 0o600)
    assert used.exists() == (mode == 0o600)
    assert "the key" not in everywhere(rig)


def test_without_a_key_ssh_uses_its_own(rig: Rig) -> None:
    repo = rig.repo(main_py="by ssh")
    private_git.fake_ssh(rig.bin / "ssh", rig.folder / "ssh")

    rig.deploy(f"host.test:{repo.folder}")

    assert "-i" not in (rig.folder / "ssh").read_text().splitlines()


@pytest.mark.parametrize(("name", "why"), [("missing", "No such file"), ("", "Is a directory")])
def test_a_key_that_cannot_be_read_is_named_with_its_variable(rig: Rig, name: str, why: str) -> None:
    with pytest.raises(DeploymentRejected, match=rf"RUNQY_GIT_SSH_KEY: .*{name}: {why}"):
        rig.deploy("git@host.test:code.git", ssh_key=rig.folder / name)


def test_a_key_is_of_no_interest_for_a_repository_that_is_not_reached_by_ssh(rig: Rig) -> None:
    rig.deploy(rig.repo().url, ssh_key=rig.folder / "missing")
