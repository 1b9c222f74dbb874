"""A task whose code and packages came with its image: it renders a template with Jinja2."""

from jinja2 import Template
from runqy_python import run, task


@task
def greet(payload: dict[str, str]) -> dict[str, str]:
    """Answers with a greeting for ``name``; ``template`` may say how."""
    template = Template(payload.get("template", "Hello, {{ name }}!"))
    return {"greeting": template.render(name=payload.get("name", "world"))}


if __name__ == "__main__":
    run()
