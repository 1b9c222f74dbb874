"""Who claims what the pages tell people to type. What nobody claims, and what no page has, fails a test.

``RUN`` names the test that runs a command or a block of code; ``NOT_RUN`` is the one list of those that no
test runs as written, each with the reason. What else is checked of them is in test_not_run.py, by their kind.
"""

SESSION = "test_the_local_session_goes_as_the_pages_say"
CONTAINER = "test_a_documented_container_serves_its_queue"
CUSTOM = "test_a_task_image_of_ones_own_is_tried_as_the_readme_says"
STORY = "test_the_example_of_a_scenario_holds_and_its_mutant_does_not"
REPORT = "test_the_report_is_where_the_page_says"
LISTED = "test_scenarios_are_listed"

RUN = {
    "README.md: python: from runqy_python import load, run, task": SESSION,
    "RUNQY_SERVER_URL=http://localhost:8081 RUNQY_API_KEY=… RUNQY_QUEUES=inference runqy-appliance": SESSION,
    "runqy-harness serve --repo . --startup-cmd 'python main.py' --vault API_TOKEN=abc": SESSION,
    "runqy-harness enqueue --queue inference --wait '{\"n\": 1}'": SESSION,
    "runqy-harness watch": SESSION,
    "runqy-harness result 6f1c…": SESSION,
    "curl -H 'Authorization: Bearer dev-key' -H 'Content-Type: application/json' "
    '-d \'{"path": "/worker/register", "status": 503, "headers": {"Retry-After": "2"}, "times": 3}\' '
    "http://127.0.0.1:8081/_harness/faults": SESSION,
    "docker run --stop-timeout 45 -e RUNQY_STOP_GRACE=45s -e RUNQY_SERVER_URL=https://runqy.example.com "
    "-e RUNQY_API_KEY=… -e RUNQY_QUEUES=inference runqy-appliance:dev": CONTAINER,
    "docker run --rm --stop-timeout 45 -e RUNQY_STOP_GRACE=45s -e RUNQY_SERVER_URL=https://runqy.example.org "
    "-e RUNQY_API_KEY=… -e RUNQY_QUEUES=inference runqy-appliance:dev": CONTAINER,
    "README.md: dockerfile: FROM runqy-appliance:dev": "test_the_readmes_dockerfile_makes_a_task_image",
    "docker build --tag my-task examples/custom-image": CUSTOM,
    "runqy-harness serve examples/custom-image": CUSTOM,
    "docker run --network host -e RUNQY_SERVER_URL=http://127.0.0.1:8081 -e RUNQY_API_KEY=dev-key "
    "-e RUNQY_QUEUES=inference my-task": CUSTOM,
    'runqy-harness enqueue --queue inference --wait \'{"name": "you"}\'': CUSTOM,
    "docs/scenarios.md: python: "
    '"""A task that runs when SIGTERM comes is finished, and the worker ends with status 0."""': STORY,
    "runqy-harness e2e --runtime process --only recovery --report report": REPORT,
    "runqy-harness e2e --list": LISTED,
}

_MINUTES = "takes minutes; what it starts has tests of its own"
_IN_THIS_RUN = "it is what runs this test"
_NO_REGISTRY = "wants an image from a public registry"
_PROJECT = (
    "tests/image/test_compose.py runs these files as a project of its own, beside others on the machine"
)

NOT_RUN = {
    'runqy-harness certify . --payload \'{"text": "hello"}\'': "tests/integration/test_certify.py does",
    'runqy-harness certify --image my-task --payload \'{"name": "world"}\'': "wants the image above",
    "make demo": "tests/integration/test_demo.py runs what it runs",
    "make e2e": _MINUTES,
    "make test": _IN_THIS_RUN,
    "make e2e RUNTIME=process E2E='--only recovery --only tasks/results'": _MINUTES,
    "make chaos": _MINUTES,
    "make chaos SEED=7 DURATION=2m": _MINUTES,
    "runqy-harness serve --handler crash_on_poison": "the retries of a task that crashes take minutes; "
    "tests/integration/test_handlers.py deploys every handler",
    "runqy-harness enqueue --queue inference --wait '{\"poison\": true}'": "as above",
    "make image": "the image tests' fixture runs it, where there is an engine",
    "make image harness-image": "the image tests' fixtures run them, where there is an engine",
    "make image BASE_IMAGE=pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime": _NO_REGISTRY,
    "runqy-harness e2e --worker 'my-worker'": "my-worker is yours; tests/e2e plays the project's own",
    "runqy-harness e2e --image my-worker:1": "my-worker is yours; tests/e2e plays the project's own",
    "runqy-harness e2e --mutants": "tests/e2e/test_scenarios.py plays them",
    "runqy-harness chaos --seed 7 --worker 'my-worker --its-options' --report evidence": _MINUTES,
    "alias demo='docker-compose -f compose/production.yml -f compose/demo.yml "
    "--env-file compose/demo/demo.env'": _PROJECT,
    "demo up --detach --scale worker=4": _PROJECT,
    "demo exec server runqy-harness enqueue --server http://server:8081 --queue inference "
    '--wait \'{"name": "you"}\'': _PROJECT,
    "demo logs --follow worker": _PROJECT,
    "demo down --volumes": _PROJECT,
    "echo -n 'the worker key' >compose/api_key && chmod 0444 compose/api_key": "writes into the checkout",
    "RUNQY_SERVER_URL=https://runqy.example.org RUNQY_QUEUES=inference docker-compose "
    "-f compose/production.yml -f compose/monitoring.yml up --detach --scale worker=4": _NO_REGISTRY,
    "docker-compose -f compose/production.yml -f compose/monitoring.yml port grafana 3000": _NO_REGISTRY,
    "kubectl apply --kustomize compose/kubernetes": "wants a cluster; tests/image/test_manifests.py holds "
    "each file to Kubernetes' schemas",
}
