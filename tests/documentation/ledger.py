"""Who claims what the pages tell people to type. What nobody claims, and what no page has, fails a test.

``RUN`` names the test that runs a command or a block of code; ``NOT_RUN`` is the one list of those that no
test runs as written, each with the reason. What else is checked of them is in test_not_run.py, by their kind.
"""

SESSION = "test_the_local_session_goes_as_the_pages_say"
CONTAINER = "test_a_documented_container_serves_its_queue"
DOCKERFILE = "test_the_documented_dockerfile_makes_a_task_image"
CUSTOM = "test_a_task_image_is_tried_as_its_page_says"
STORY = "test_the_example_of_a_scenario_holds_and_its_mutant_does_not"
REPORT = "test_the_report_is_where_the_page_says"
PROGRESS = "test_the_line_that_the_page_prints_is_progress"
LISTED = "test_scenarios_are_listed"
TASK_CODE = "test_the_way_from_an_empty_folder_to_a_certified_task_is_as_its_page_says"
TASK_COMPOSE = "test_a_new_projects_image_is_tried_as_its_page_says"

RUN = {
    "README.md: python: from runqy_python import load, run, task": SESSION,
    "RUNQY_SERVER_URL=http://localhost:8081 RUNQY_API_KEY=… RUNQY_QUEUES=inference runqy-appliance": SESSION,
    "runqy-harness serve --repo . --startup-cmd 'python main.py' --vault API_TOKEN=abc": SESSION,
    "runqy-harness enqueue --queue inference --wait '{\"n\": 1}'": SESSION,
    "runqy-harness watch": SESSION,
    "runqy-harness result 6f1c…": SESSION,
    "runqy-harness tasks list --state archived": SESSION,
    "runqy-harness tasks show 6f1c…": SESSION,
    "runqy-harness tasks retry 6f1c…": SESSION,
    "runqy-harness queues pause inference": SESSION,
    "runqy-harness queues resume inference": SESSION,
    "runqy-harness workers list": SESSION,
    "curl -H 'Authorization: Bearer dev-key' -H 'Content-Type: application/json' "
    '-d \'{"path": "/worker/register", "status": 503, "headers": {"Retry-After": "2"}, "times": 3}\' '
    "http://127.0.0.1:8081/_harness/faults": SESSION,
    "docker run --stop-timeout 45 -e RUNQY_STOP_GRACE=45s -e RUNQY_SERVER_URL=https://runqy.example.com "
    "-e RUNQY_API_KEY=… -e RUNQY_QUEUES=inference runqy-appliance:dev": CONTAINER,
    "docker run --rm --stop-timeout 45 -e RUNQY_STOP_GRACE=45s -e RUNQY_SERVER_URL=https://runqy.example.org "
    "-e RUNQY_API_KEY=… -e RUNQY_QUEUES=inference runqy-appliance:dev": CONTAINER,
    "docs/task-image.md: dockerfile: FROM runqy-appliance:dev": DOCKERFILE,
    "docker build --tag my-task examples/custom-image": CUSTOM,
    "docker run --detach --rm --name runqy runqy-harness:dev "
    "runqy-harness serve --repo https://git.example.com/my-task.git": CUSTOM,
    "docker run --rm --network container:runqy -e RUNQY_SERVER_URL=http://127.0.0.1:8081 "
    "-e RUNQY_API_KEY=dev-key -e RUNQY_QUEUES=inference my-task": CUSTOM,
    'docker exec runqy runqy-harness enqueue --queue inference --wait \'{"name": "you"}\'': CUSTOM,
    "docker stop runqy": CUSTOM,
    "runqy-harness init my-task": TASK_CODE,
    "cd my-task": TASK_CODE,
    "runqy-harness dev --payload payload.json": TASK_CODE,
    "runqy-harness test": TASK_CODE,
    "runqy-harness certify . --payloads payload.json": TASK_CODE,
    "docs/task-code.md: python: def test_a_text_is_summed_up(send):": TASK_CODE,
    "docker compose up --build --detach": TASK_COMPOSE,
    "docker compose exec server runqy-harness enqueue --server http://server:8081 --queue inference "
    '--wait \'{"text": "Hello!"}\'': TASK_COMPOSE,
    "docker compose logs worker": TASK_COMPOSE,
    "docker compose down": TASK_COMPOSE,
    "docs/scenarios.md: python: "
    '"""A task that runs when SIGTERM comes is finished, and the worker ends with status 0."""': STORY,
    "runqy-harness e2e --runtime process --only recovery --report report": REPORT,
    "runqy-harness e2e --list": LISTED,
    "docs/task-process.md: python: import json, sys": PROGRESS,
}

_MINUTES = "takes minutes; what it starts has tests of its own"
_IN_THIS_RUN = "it is what runs this test"
_NO_REGISTRY = "wants an image from a public registry"
_PROJECT = (
    "tests/image/test_compose.py runs these files as a project of its own, beside others on the machine"
)

NOT_RUN = {
    'eval "$(runqy-harness completion bash)"': "tests/integration/test_operate.py completes with it",
    "runqy-harness load --repo . --payload payload.json --rate 20 --duration 60s": "takes a minute; "
    "tests/integration/test_load.py plays a short one",
    "runqy-harness dev": "goes on until Ctrl-C; tests/integration/test_dev.py does",
    'runqy-harness certify . --payload \'{"text": "hello"}\'': "tests/integration/test_certify.py does",
    'runqy-harness certify --image my-task --payload \'{"name": "world"}\'': "wants the image above",
    "make demo": "tests/integration/test_demo.py runs what it runs",
    "make e2e": _MINUTES,
    "make test": _IN_THIS_RUN,
    "make check": "a part of it",
    "make e2e RUNTIME=process E2E='--only recovery --only tasks/results'": _MINUTES,
    "make chaos": _MINUTES,
    "make chaos SEED=7 DURATION=2m": _MINUTES,
    "make chaos CHAOS='--round-trip 80ms'": _MINUTES,
    "runqy-harness serve --handler crash_on_poison": "the retries of a task that crashes take minutes; "
    "tests/integration/test_handlers.py deploys every handler",
    "runqy-harness enqueue --queue inference --wait '{\"poison\": true}'": "as above",
    "make image": "the image tests' fixture runs it, where there is an engine",
    "make image harness-image": "the image tests' fixtures run them, where there is an engine",
    "make image BASE_IMAGE=pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime": _NO_REGISTRY,
    "runqy-harness conform --server https://runqy.example.org --admin-key … "
    "--redis-url redis://redis.example.org:6379": "the server is yours; test_conform.py has one",
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
    "kubectl create secret generic runqy-worker --from-file=api-key=compose/api_key": "wants a cluster",
    "kubectl apply --kustomize compose/kubernetes": "wants a cluster; tests/image/test_manifests.py holds "
    "each file to Kubernetes' schemas",
}
