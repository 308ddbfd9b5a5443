"""Who may do what at a FLARE site, role by verb: what is not named is refused."""

from importlib.util import find_spec

import pytest

from grandtotal.engine import workspace

if find_spec("nvflare") is None:
    pytest.skip("NVIDIA FLARE is not installed", allow_module_level=True)

from nvflare.fuel.sec.authz import AuthzContext, Person
from nvflare.security.security import FLAuthorizer

ROLES = ("lead", "project_admin", "org_admin", "member", "", "lead2")
VERBS = (
    *("submit_job", "manage_job", "view", "clone_job", "download_job", "operate"),
    *("shell_commands", "byoc", "server-predeployed-flwr", "abort_job", "anything"),
)
ALLOWED = {("lead", verb) for verb in ("submit_job", "manage_job", "view", "abort_job")}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("role", ROLES)
def test_only_the_officer_may_have_jobs_run_and_ended(role, verb):
    authorizer = FLAuthorizer("north", workspace._RIGHTS)
    officer = Person("officer", "officer", role)
    allowed, _ = authorizer.authorize(AuthzContext(verb, officer, officer))
    assert bool(allowed) == ((role, verb) in ALLOWED)


def test_nobody_may_end_a_job_that_another_submitted():
    authorizer = FLAuthorizer("north", workspace._RIGHTS)
    asking, submitter = (Person(name, name, "lead") for name in ("thief", "officer"))
    allowed, _ = authorizer.authorize(AuthzContext("manage_job", asking, submitter))
    assert not allowed
