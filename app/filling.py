"""Fills the holes of a tool file's texts with parameters, secrets and the login (pure)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import StepError
from app.step import Secret
from tool_catalog.model import Operation, Reason

#: `{name}` or `{credential.password}`; other braces (`{{name}}`, `%{http_code}`) are plain text.
#: The catalogue's check reads them the same way.
PLACEHOLDER = re.compile(r"(?<![%${])\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)\}(?!\})")

#: Names that `stdin` and `env` may use beside parameters; the login of the step's target.
_CREDENTIAL_NAMES = frozenset({"credential.username", "credential.password"})


@dataclass(frozen=True, slots=True)
class SecretText:
    """Text with secrets in it: its str and repr show `***`, equality compares the raw text."""

    parts: tuple[str | Secret, ...]

    def reveal(self) -> str:
        """The text itself: hand it to the process, never to a log, an argv or an exception."""
        return "".join(p.reveal() if isinstance(p, Secret) else p for p in self.parts)

    def __str__(self) -> str:
        return "".join(str(part) for part in self.parts)

    def __repr__(self) -> str:
        return f"SecretText({str(self)!r})"


Text = str | SecretText


def reveal(text: Text) -> str:
    """The raw text of a `stdin` or an environment value."""
    return text.reveal() if isinstance(text, SecretText) else text


class _HiddenSecrets(Mapping[str, Secret]):
    """Stands for every secret there is: a command built with it can be shown, not run."""

    def __getitem__(self, name: str) -> Secret:
        return Secret("***")

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


#: For dry run and approval: every secret that a command names is there, as `***`.
HIDDEN_SECRETS: Mapping[str, Secret] = _HiddenSecrets()


def as_text(value: object) -> str:
    """A parameter as one argument: true/false, numbers without a needless ".0", lists with ","."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | tuple):
        return ",".join(as_text(item) for item in value)
    if isinstance(value, Mapping) and "$artifact" in value:
        return f"artifact:{value['$artifact']}"  # a dry run: a worker puts the file's path here
    return str(value)


#: Stands for a value whose parameter is absent.
_ABSENT = object()


class Texts:
    """Fills texts that may name parameters, secrets and the login."""

    def __init__(
        self,
        operation: Operation,
        parameters: Mapping[str, Any],
        secrets: Mapping[str, Secret],
    ) -> None:
        self._operation = operation
        self._parameters = parameters
        self._secrets = secrets

    def fill(self, template: str) -> Text | None:
        """The text; None when a parameter that it names is absent."""
        parts: list[str | Secret] = []
        end = 0
        for found in PLACEHOLDER.finditer(template):
            if not self._is_known(found[1]):
                continue
            value = self.value(found[1])
            if value is None:
                return None
            parts += [template[end : found.start()], self._part(value)]
            end = found.end()
        parts.append(template[end:])
        if any(isinstance(part, Secret) for part in parts):
            return SecretText(tuple(part for part in parts if part != ""))
        return "".join(str(part) for part in parts)

    def fill_value(self, template: Any) -> Any:  # noqa: ANN401  # any JSON value, same shape back
        """A JSON value; a text that is one placeholder keeps the parameter's type.

        Members and items whose parameter is absent disappear.
        """
        value = self._fill_value(template)
        return None if value is _ABSENT else value

    def value(self, name: str) -> Any:  # noqa: ANN401  # any JSON value
        """A parameter as it was given, or the Secret that it or the login names; None if absent."""
        if name in _CREDENTIAL_NAMES:
            return self._secret(name, f"the target has no {name.partition('.')[2]}; add a login")
        value = self._parameters.get(name)
        if isinstance(value, Mapping) and "$secret" in value:
            secret = str(value["$secret"])
            return self._secret(secret, f"there is no secret named {secret}")
        return value

    def _fill_value(self, template: Any) -> Any:  # noqa: ANN401  # any JSON value
        if isinstance(template, Mapping):
            filled = {name: self._fill_value(item) for name, item in template.items()}
            return {name: item for name, item in filled.items() if item is not _ABSENT}
        if isinstance(template, list | tuple):
            items = [self._fill_value(item) for item in template]
            return [item for item in items if item is not _ABSENT]
        if not isinstance(template, str):
            return template
        whole = PLACEHOLDER.fullmatch(template)
        if whole and self._is_known(whole[1]):
            value = self.value(whole[1])
            value = SecretText((value,)) if isinstance(value, Secret) else value
        else:
            value = self.fill(template)
        return _ABSENT if value is None or value == [] else value

    def _is_known(self, name: str) -> bool:
        return name in self._operation.parameters or name in _CREDENTIAL_NAMES

    @staticmethod
    def _part(value: object) -> str | Secret:
        return value if isinstance(value, Secret) else as_text(value)

    def _secret(self, name: str, missing: str) -> Secret:
        if self._secrets is not HIDDEN_SECRETS and name not in self._secrets:
            raise StepError(Reason.NOT_FOUND, missing)
        return self._secrets[name]
