"""Settings, declared once as fields of a class: each is a flag, an environment variable and a line of ``--help``.

A program subclasses `ProgramSettings`, gives each field a type, a default and a description, and calls `load`.
Flags win over environment variables. A bad value ends the program with one line that names the setting, the value
and what is allowed; a traceback tells a person on call nothing.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TypeVar, get_args

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from ark_process.secrets import Scrubber, of_environment, of_urls

USAGE_ERROR = 2
"""Exit code of a program that was started with a bad setting (the convention of argparse)."""

_LARGEST = 1e9
"""Of numbers with a fraction: thirty years in seconds."""
_S = TypeVar("_S", bound="ProgramSettings")
_T = TypeVar("_T")


class ProgramSettings(BaseSettings):
    """The settings that every program has; a program adds its own."""

    model_config = SettingsConfigDict(
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_show_env_vars=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log level that is printed"
    )
    log_format: Literal["json", "text"] = Field(
        "json", description="json prints one JSON object a line, text is for people at a terminal"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_plainly_written(cls, value: object, field: ValidationInfo) -> object:
        """Refuse a number in digits of another script or with underscores, which Python takes and nobody means."""
        declared = cls.model_fields[field.field_name or ""].annotation
        numeric = declared in (int, float) or {int, float} & set(get_args(declared))
        if isinstance(value, str) and numeric and ("_" in value or not value.isascii()):
            raise ValueError("give a number in plain digits")
        return value

    @field_validator("*")
    @classmethod
    def _is_of_this_world(cls, value: object) -> object:
        """Refuse times that no clock can count with."""
        if isinstance(value, float) and value > _LARGEST:
            raise ValueError(f"give at most {_LARGEST:g}")
        return value

    @property
    def scrubber(self) -> Scrubber:
        """Takes every secret that these settings and the environment hold out of a text."""
        held = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        parts = [of_urls(text) if "://" in text else {text} for text in held]
        return Scrubber(of_environment().union(*parts))


def checked_with(parse: Callable[[str], object]) -> AfterValidator:
    """Return a validator for a setting that is kept as text, secret or not, and must parse."""

    def check(value: _T) -> _T:
        parse(value.get_secret_value() if isinstance(value, SecretStr) else str(value))
        return value

    return AfterValidator(check)


def load(settings: type[_S], arguments: Sequence[str] | None = None) -> _S:
    """Read flags and environment; print one line for each bad value and exit with code 2.

    Args:
        settings: the class that declares the program's settings.
        arguments: the command line without the program's name; the process's own where None.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    said = io.StringIO()
    try:
        # What the parser does not know it repeats, and that may be a misspelt --redis with its password.
        with contextlib.redirect_stderr(said):
            return CliApp.run(settings, cli_args=list(arguments))
    except ValidationError as error:
        exit_with_usage_error(settings, [describe(settings, detail) for detail in error.errors()])
    finally:
        sys.stderr.write(Scrubber(of_urls(" ".join(arguments)))(said.getvalue()))


def exit_with_usage_error(settings: type[ProgramSettings], messages: Sequence[str]) -> NoReturn:
    """Print ``program: message`` for each message on standard error and exit with code 2."""
    program = settings.model_config.get("cli_prog_name") or sys.argv[0]
    for message in messages:
        print(f"{program}: {message}", file=sys.stderr)
    raise SystemExit(USAGE_ERROR)


def describe(settings: type[ProgramSettings], detail: ErrorDetails) -> str:
    """Return one line that says which setting is bad, the value that was given, and what is allowed.

    The value of a secret setting is not repeated.
    """
    location = str(detail["loc"][0]) if detail["loc"] else ""
    problem = detail["msg"].removeprefix("Value error, ").replace("\n", " ")
    field = settings.model_fields.get(location)
    if field is None:
        return problem
    flag = "--" + location.replace("_", "-")
    variable = f"{settings.model_config.get('env_prefix', '')}{location}".upper()
    if detail["type"] == "missing":
        return f"{flag} ({variable}) is missing: {field.description}"
    if _is_secret(field.annotation):
        return f"{flag} ({variable}): {problem}"
    return f"{flag} ({variable}) is {detail['input']!r}: {problem}"


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in get_args(annotation)
