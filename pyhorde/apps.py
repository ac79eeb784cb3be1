"""``--app MODULE[:CLASS]``: import the user's module and find the process types in it."""

from __future__ import annotations

import difflib
import importlib
import inspect
import traceback
from pathlib import Path
from types import ModuleType

from pyhorde.errors import ConfigError
from pyhorde.runtime.process import Process


def load_app(text: str) -> dict[str, type[Process]]:
    """The process classes that ``MODULE`` offers, by their type name ``MODULE:CLASS``.

    A class that the module merely imports is offered too; pyhorde's own are not, unless named.
    Raises :class:`~pyhorde.errors.ConfigError` naming the cause and the mend.
    """
    module_name, colon, class_name = text.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError("app", f"{text!r} is no MODULE[:CLASS]", _path_hint(module_name))
    if colon and not class_name.isidentifier():
        raise ConfigError("app", f"{text!r} names no class", "for example examples.meeting:Meeting")
    module = _import(module_name)
    found = {class_name: _named(module, class_name)} if colon else _offered(module)
    return {f"{module_name}:{name}": kind for name, kind in found.items()}


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise _import_failed(name, missing) from missing
        raise ConfigError("app", f"no module named {missing.name!r}", _lost_hint(name)) from None
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: BaseException) -> ConfigError:
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):
        what = f"SyntaxError: {error.msg}"
    return ConfigError(
        "app",
        f"importing {name} failed with {what} at {_place(error)}",
        f'python -c "import {name}" shows the whole traceback',
    )


def _place(error: BaseException) -> str:
    """``file:line`` of the failing frame, leaving out the import machinery."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_near(error.filename)}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
    ]
    return f"{_near(frames[-1].filename)}:{frames[-1].lineno}"


def _near(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def _offered(module: ModuleType) -> dict[str, type[Process]]:
    own = module.__name__.startswith("pyhorde.")
    found = {
        name: value
        for name, value in vars(module).items()
        if _is_process(value) and (own or not value.__module__.startswith("pyhorde."))
    }
    if not found:
        raise ConfigError(
            "app",
            f"the module {module.__name__} has no process in it",
            "give it a class that derives from pyhorde.Process",
        )
    return {n: kind for n, kind in found.items() if n == kind.__name__ or not _aliased(kind, found)}


def _aliased(kind: type, found: dict[str, type[Process]]) -> bool:
    return found.get(kind.__name__) is kind


def _named(module: ModuleType, name: str) -> type[Process]:
    value = getattr(module, name, None)
    if value is None:
        there = [each for each, kind in vars(module).items() if _is_process(kind)]
        close = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(there) or 'none'}"
        raise ConfigError("app", f"the module {module.__name__} has no class {name!r}", hint)
    if not _is_process(value):
        what = f"{module.__name__}:{name} is no process"
        raise ConfigError("app", what, "derive the class from pyhorde.Process")
    return value  # type: ignore[no-any-return]


def _is_process(value: object) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, Process)
        and value is not Process
        and not inspect.isabstract(value)
    )


def _path_hint(text: str) -> str:
    """``dir/app.py`` means the module ``dir.app``."""
    dotted = text.removesuffix(".py").strip("./").replace("/", ".")
    if dotted and all(part.isidentifier() for part in dotted.split(".")):
        return f"did you mean {dotted}?"
    return "for example examples.meeting or examples.meeting:Meeting"


def _lost_hint(name: str) -> str:
    """What is there instead, and where was looked."""
    if name.endswith(".py"):
        return _path_hint(name)
    *parents, last = name.split(".")
    folder = Path.cwd().joinpath(*parents)
    there = [path.stem for path in folder.glob("*.py")] if folder.is_dir() else []
    there += [path.parent.name for path in folder.glob("*/__init__.py")] if there else []
    if close := difflib.get_close_matches(last, there, n=1):
        return f"did you mean {'.'.join([*parents, close[0]])}?"
    return f"looked in {Path.cwd()} and on PYTHONPATH; start in the directory that holds it"
