"""One deployment of one parent queue, checked and frozen before anything is touched. Pure."""

from appliance.config.settings import GitSettings
from appliance.control.contract import DeploymentSpec
from appliance.deploy.source import (
    Login,
    OwnToken,
    Source,
    check_inside,
    check_parent,
    check_ref,
    choose_login,
    parse_source,
)
from appliance.values import value_class


@value_class
class Wanted:
    """What to have: a repository's address without credentials, a branch or tag, and a folder or ``""``."""

    url: str
    ref: str
    code_path: str


@value_class
class Job:
    """What to put in place for ``parent``.

    ``own_token`` is what becomes of the worker's own. ``may_stay`` is whether the code of an earlier start
    will do where the repository cannot be reached or refuses it.
    """

    parent: str
    source: Source
    login: Login | None
    own_token: OwnToken
    wanted: Wanted
    requirements_file: str
    may_stay: bool = True


def plan_job(
    parent: str, spec: DeploymentSpec, git_token: str | None, own: GitSettings, *, may_stay: bool
) -> Job:
    """The job that the server's ``spec`` asks for; its ``git_token`` wins over our ``own``.

    Raises :class:`~appliance.errors.DeploymentRejected` naming what cannot be used.
    """
    source = parse_source(spec.git_url)
    code_path = check_inside("deployment.code_path", spec.code_path or "")
    login, own_token = choose_login(source, git_token, own.token, own.token_hosts)
    return Job(
        parent=check_parent(parent),
        source=source,
        login=login,
        own_token=own_token,
        wanted=Wanted(source.url, check_ref(spec.branch), code_path),
        requirements_file=spec.requirements_file,
        may_stay=may_stay,
    )
