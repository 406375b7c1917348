"""An option of a criterion: the command line, the check of a value, the config dataclass of it."""

import argparse
import dataclasses
from typing import Any, Callable, NamedTuple, Optional


class Option(NamedTuple):
    """An option of a criterion: ``--reg-alpha``, or ``reg_alpha`` in a YAML file."""

    name: str
    type: type
    default: Any
    help: str
    title: str = ""
    """What the value is called in a message, in front of the flag."""
    allows: Callable[[Any], bool] = lambda value: True
    range: str = ""
    """``allows`` in words, after "must": "be 0 or more"; not needed with ``choices``."""
    choices: tuple = ()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def rule(self) -> str:
        """What a value must do, in words."""
        if not self.choices:
            return self.range
        *others, last = self.choices
        return f"be {', '.join(others)} or {last}"

    def check(self, value) -> None:
        """Raise ``ValueError`` if the value is out of range; the default never is."""
        if value == self.default:
            return
        if not (value in self.choices if self.choices else self.allows(value)):
            raise ValueError(f"{self.title} ({self.flag}) must {self.rule}, not {value}")

    def parse(self, text: str):
        """The value of a word on the command line. Raises ``argparse.ArgumentTypeError``."""
        try:
            value = self.type(text)
        except ValueError:
            kind = self.type.__name__
            raise argparse.ArgumentTypeError(f"invalid {kind} value: {text!r}") from None
        try:
            self.check(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the option to a command line."""
        if self.type is bool:
            parser.add_argument(self.flag, action="store_true", help=self.help)
            return
        parser.add_argument(
            self.flag,
            type=str if self.choices else self.parse,  # argparse itself checks choices
            default=self.default,
            choices=self.choices or None,
            help=self.help,
        )

    def field(self) -> tuple:
        """The option as a field of a dataclass, for ``dataclasses.make_dataclass``."""
        kind = Optional[self.type] if self.default is None else self.type
        metadata = {"help": self.help}
        return self.name, kind, dataclasses.field(default=self.default, metadata=metadata)


def config_class(name: str, parent: type, options: tuple) -> type:
    """A config dataclass with the fields of ``parent`` and the options."""
    return dataclasses.make_dataclass(name, [option.field() for option in options], bases=(parent,))
