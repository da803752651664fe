"""The settings of a program, from the class that declares them."""

from __future__ import annotations

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ark_process.settings import ProgramSettings
from hack.reference.markdown import code, page, prose, table

_INTRODUCTION = """\
Each setting is a flag and an environment variable; the flag wins. `{program} --help` says the same, and a bad value
ends the program with one line that names it (exit code 2)."""


def settings_page(settings: type[ProgramSettings], source: str) -> str:
    """Return the page of one program.

    Args:
        settings: the class.
        source: where it is declared.
    """
    program = settings.model_config["cli_prog_name"]
    prefix = settings.model_config.get("env_prefix", "")
    rows = [
        (
            code("--" + name.replace("_", "-")),
            code(f"{prefix}{name}".upper()),
            code(_default(field)),
            prose(field.description or ""),
        )
        for name, field in settings.model_fields.items()
    ]
    introduction = _INTRODUCTION.format(program=program)
    return page(f"Settings of {program}", source, introduction, table(("flag", "variable", "default", "meaning"), rows))


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is PydanticUndefined or value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
