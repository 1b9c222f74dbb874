"""Private repositories: let in by token or key, and neither is anywhere that others can look."""

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.control.contract import DeploymentSpec
from appliance.errors import DeploymentError, DeploymentRejected, DeploymentUnavailable
from harness import wait
from harness.sandbox.repo import make_repo
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
    rig.deploy(host.url(), own_token=TOKEN, token_hosts=("127.0.0.1",))

    assert set(host.asked) == {("x-access-token", TOKEN)}
    assert rig.logged("deploy.token_withheld") == rig.logged("deploy.token_host_unnamed") == []


@pytest.mark.parametrize(
    ("hosts", "why"), [(None, "without encryption"), (("git.test", "127.0.0.1:1"), "not among")]
)
def test_our_own_token_is_not_sent_where_it_does_not_belong_and_that_is_said(
    rig: Rig, host: PrivateHost, hosts: tuple[str, ...] | None, why: str
) -> None:
    with pytest.raises(DeploymentRejected, match="could not read Username"):
        rig.deploy(host.url(), own_token=TOKEN, token_hosts=hosts)

    assert host.asked == []
    (warning,) = rig.logged("deploy.token_withheld")
    assert warning["host"] == f"127.0.0.1:{host.port}"
    assert why in warning["reason"]
    assert "RUNQY_GIT_TOKEN_HOSTS" in warning["reason"]


def test_an_https_host_that_nobody_named_gets_our_token_and_one_warning_names_both(rig: Rig) -> None:
    deployer = rig.deployer(own_token=TOKEN)
    for _ in range(2):
        with pytest.raises(DeploymentUnavailable):
            deployer.deploy(
                deploying.PARENT, DeploymentSpec("https://127.0.0.1:1/r.git", "main", "python main.py"), None
            )

    (warning,) = rig.logged("deploy.token_host_unnamed")
    assert warning["host"] == "127.0.0.1:1"
    assert "RUNQY_GIT_TOKEN_HOSTS" in warning["reason"]


@pytest.mark.parametrize("token", ["canary-wrong", None])
def test_a_wrong_token_or_none_is_refused_at_once(rig: Rig, host: PrivateHost, token: str | None) -> None:
    with pytest.raises(DeploymentRejected, match=r"Authentication failed|could not read Username") as refused:
        rig.deploy(host.url(), token=token, retries=5)

    assert rig.logged("deploy.attempt_failed") == []
    assert len(host.asked) == (1 if token else 0)
    assert "canary" not in str(refused.value)
    assert "canary" not in str(rig.events)


def test_a_token_in_the_url_is_in_no_refusal(rig: Rig, host: PrivateHost) -> None:
    with pytest.raises(DeploymentRejected) as refused:
        rig.deploy(host.url("canary-user:canary-wrong"))

    assert "canary" not in str(refused.value)
    assert "canary" not in str(rig.events)


def test_a_token_is_shown_to_no_other_host(
    rig: Rig, host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_repo(rig.folder / "other.git", {"main.py": ""})
    with private_host(other, "x") as elsewhere:
        # The machine's owner has git go somewhere else.
        there, here = elsewhere.url(), host.url()
        owners = rig.folder / "owners"
        owners.write_text(f'[url "{there}"]\n\tinsteadOf = {here}\n')
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(owners))

        with pytest.raises(DeploymentRejected):
            rig.deploy(here, token=TOKEN)

    assert elsewhere.asked == []


@pytest.mark.parametrize("where", ["home/.gitconfig", "home/.config/git/config"])
def test_configuration_that_task_code_could_have_written_does_not_count_where_there_is_a_token(
    rig: Rig, host: PrivateHost, where: str
) -> None:
    planted = rig.folder / where
    planted.parent.mkdir(parents=True, exist_ok=True)
    with private_host(rig.repo(), "x") as elsewhere:
        proxy = f"http://127.0.0.1:{elsewhere.port}"
        planted.write_text(f"[http]\n\tproxy = {proxy}\n[core]\n\tfsmonitor = touch {rig.folder}/ran\n")

        rig.deploy(host.url(), token=TOKEN)

        assert elsewhere.asked == []
    assert not (rig.folder / "ran").exists()
    (warning,) = rig.logged("deploy.git_configuration_ignored")
    assert warning["path"] == str(planted)


@pytest.mark.parametrize("moment", ["at once", "after the login"])
def test_a_host_that_sends_git_elsewhere_does_not_send_the_token_along(
    rig: Rig, host: PrivateHost, moment: str
) -> None:
    with private_host(rig.repo(), "x") as elsewhere:
        host.sends_to, host.sends_at_once = f"http://127.0.0.1:{elsewhere.port}", moment == "at once"

        with pytest.raises(DeploymentError):
            rig.deploy(host.url(), token=TOKEN)

        assert elsewhere.requests > 0
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
    assert {"git@host.test", "BatchMode=yes", "IdentitiesOnly=yes"} <= set(words)
    shown = rig.folder / "ssh.key"
    assert shown.read_text() == "the key\n"
    assert stat.S_IMODE(shown.stat().st_mode) == 0o600
    used = [words[place + 1] for place, word in enumerate(words) if word == "-i"]
    assert all(re.fullmatch(r"/proc/\d+/fd/\d+", path) for path in used)
    assert "the key" not in everywhere(rig)
    assert words[words.index("-F") + 1] in {"none", "/etc/ssh/ssh_config"}
    assert f'UserKnownHostsFile="{rig.deployment}/.ssh_known_hosts"' in words


def test_the_key_is_for_the_commands_that_need_it(rig: Rig) -> None:
    repo = rig.repo(a__main_py="by ssh")
    private_git.fake_ssh(rig.bin / "ssh", rig.folder / "ssh")
    (rig.bin / "cp").symlink_to("/bin/cp")
    (rig.bin / "readlink").symlink_to("/bin/readlink")
    private_git.watched(rig.bin / "git", rig.folder / "seen")

    rig.deploy(f"git@host.test:{repo.folder}", ssh_key=ssh_key(rig, 0o600), spec={"code_path": "a"})

    seen = [line.split() for line in (rig.folder / "seen").read_text().splitlines()]
    with_key = {command for command, keys in seen if keys != "0"}
    assert with_key == {"ls-remote", "fetch"}
    assert {"init", "rev-parse", "checkout", "ls-files"} <= {command for command, keys in seen if keys == "0"}


def test_of_a_worker_that_is_killed_no_key_is_left(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = rig.repo()
    private_git.fake_ssh(rig.bin / "ssh", rig.folder / "ssh")
    (rig.bin / "cp").symlink_to("/bin/cp")
    key = ssh_key(rig, 0o644)
    temporary = rig.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))

    with rig.gated_git("ls-remote", then="exit 1") as let_go:
        killed = rig.start(f"git@host.test:{repo.folder}", code_only=True, ssh_key=key)
        wait.until((rig.folder / "there").exists, 180, "git to begin")
        killed.kill()
        killed.communicate(timeout=180)
        let_go()

    left = [path for path in rig.folder.rglob("*") if path.is_file() and b"the key" in path.read_bytes()]
    assert left == [key]
    assert [path for path in temporary.rglob("*") if path.is_file()] == []


def test_copies_of_keys_that_a_killed_worker_left_are_swept_away(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new = tmp_path / "runqy-key-old", tmp_path / "runqy-key-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "key").write_text("the key")
    os.utime(old, (0, 0))

    rig.deploy(rig.repo().url)

    assert not old.exists()
    # An earlier version's worker may be using it.
    assert new.exists()


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
