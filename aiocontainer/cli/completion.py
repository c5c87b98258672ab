"""completion: what a shell has to know to complete the words of this program, from the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .table import COMMANDS, GLOBAL_OPTIONS, PROGRAM, Command, Option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .arguments import Invocation

__all__ = ["bash", "completion", "fish", "takes_id", "zsh"]

_DIRECTORIES: Final = frozenset(("DIR",))
_FILES: Final = frozenset(("FILE", "PATH"))


def completion(call: Invocation) -> int:
    """Print the script for one shell."""
    from .arguments import UsageError

    shell = call.operands[0]
    if shell not in _SHELLS:
        raise UsageError(f"{shell!r} is none of {', '.join(_SHELLS)}")
    print(_SHELLS[shell](), end="")
    return 0


def takes_id(command: Command) -> bool:
    """Whether the first operand is a container that is there."""
    return "ID" in command.usage.split() and command.name not in ("create", "run", "restore")


def _names(options: Iterable[Option]) -> str:
    return " ".join(name for option in options for name in option.names)


def _all_options() -> list[tuple[str, Sequence[Option]]]:
    return [("", GLOBAL_OPTIONS), *((command.name, command.options) for command in COMMANDS)]


# bash -------------------------------------------------------------------------------------------------

_BASH: Final = """\
# Completion of {program} for bash: source this, or put it into share/bash-completion/completions.

_{program}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command= root=() word place=1
    COMPREPLY=()
    while (( place < COMP_CWORD )); do
        word=${{COMP_WORDS[place]}}
        case $word in
            --root) root=(--root "${{COMP_WORDS[place+1]}}"); (( place += 2 )); continue ;;
            {valued}) (( place += 2 )); continue ;;
            -*) ;;
            *) command=$word; break ;;
        esac
        (( place += 1 ))
    done
    (( place > COMP_CWORD )) && command=
    case $command:$previous in
{values}
    esac
    if [[ $current == -* ]]; then
        case $command in
{options}
        esac
        return
    fi
    case $command in
        '') COMPREPLY=($(compgen -W "{commands}" -- "$current")) ;;
        {ids})
            word=$("${{COMP_WORDS[0]}}" "${{root[@]}}" list --quiet 2>/dev/null)
            COMPREPLY=($(compgen -W "$word" -- "$current")) ;;
{words}
    esac
}}
complete -F _{program} {program}
"""


def bash() -> str:
    """Return the script for bash."""
    tables = _all_options()
    return _BASH.format(
        program=PROGRAM,
        valued="|".join(name for each in GLOBAL_OPTIONS if each.value for name in each.names),
        values="\n".join(line for command, options in tables for line in _bash_values(command, options)),
        options="\n".join(
            f"            {command or repr('')}) "
            f'COMPREPLY=($(compgen -W "{_names(options)}" -- "$current")) ;;'
            for command, options in tables
        ),
        commands=" ".join(command.name for command in COMMANDS),
        ids="|".join(command.name for command in COMMANDS if takes_id(command)),
        words="\n".join(
            f'        {name}) COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$current")) ;;'
            for name, words in _operands().items()
        ),
    )


def _operands() -> dict[str, list[str]]:
    """Give the words that may follow a command, where they are known."""
    return {"completion": list(_SHELLS), "man": [command.name for command in COMMANDS]}


def _bash_values(command: str, options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        if option.value:
            places = "|".join(f"{command}:{name}" for name in option.names)
            yield f"        {places}) {_bash_value(option)}return ;;"


def _bash_value(option: Option) -> str:
    if option.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$current")); '
    if option.value in _DIRECTORIES | _FILES:
        kind = "-d" if option.value in _DIRECTORIES else "-f"
        return f'COMPREPLY=($(compgen {kind} -- "$current")); '
    return ""


# zsh --------------------------------------------------------------------------------------------------

_ZSH: Final = """\
#compdef {program}
# Completion of {program} for zsh: put it as _{program} into a directory of $fpath.

_{program}_ids() {{
    local -a ids
    ids=(${{(f)"$(_call_program ids {program} list --quiet 2>/dev/null)"}})
    compadd -a ids
}}

_{program}() {{
    local context state line curcontext="$curcontext"
    local -a commands
    commands=(
{commands}
    )
    _arguments -C \\
{options}
        '1:command:->command' '*::argument:->argument'
    case $state in
        command) _describe command commands ;;
        argument)
            case $line[1] in
{arguments}
            esac ;;
    esac
}}

_{program} "$@"
"""


def zsh() -> str:
    """Return the script for zsh."""
    return _ZSH.format(
        program=PROGRAM,
        commands="\n".join(f"        {_quoted(f'{each.name}:{each.summary}')}" for each in COMMANDS),
        options="\n".join(f"        {_zsh_option(option)} \\" for option in GLOBAL_OPTIONS),
        arguments="\n".join(map(_zsh_command, COMMANDS)),
    )


def _zsh_command(command: Command) -> str:
    options = [_zsh_option(option) for option in command.options]
    if takes_id(command):
        options.append(f"'1:container:_{PROGRAM}_ids'")
    elif command.name in _operands():
        options.append(f"'1:{command.usage.strip('[]').lower()}:({' '.join(_operands()[command.name])})'")
    rest = "'*::command:_normal'" if command.ends_options else ""
    lines = " \\\n                    ".join([*options, *([rest] if rest else [])])
    return f"                {command.name}) _arguments -s \\\n                    {lines} ;;"


def _zsh_option(option: Option) -> str:
    text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    argument = f":{option.value.lower()}:{_zsh_action(option)}" if option.value else ""
    names = "{" + ",".join(option.names) + "}" if len(option.names) > 1 else option.names[0]
    apart = "'*'" if option.repeat else _quoted(f"({' '.join(option.names)})")
    return f"{apart}{names}{_quoted(f'[{text}]' + argument.replace('[', '(').replace(']', ')'))}"


def _zsh_action(option: Option) -> str:
    if option.choices:
        return f"({' '.join(option.choices)})"
    if option.value in _DIRECTORIES:
        return "_files -/"
    return "_files" if option.value in _FILES else " "


def _quoted(text: str) -> str:
    """Quote a word for a shell of the Bourne family."""
    return "'" + text.replace("'", "'\\''") + "'"


# fish -------------------------------------------------------------------------------------------------


def fish() -> str:
    """Return the script for fish."""
    return "\n".join((f"# Completion of {PROGRAM} for fish.", *_fish_lines(), ""))


def _fish_lines() -> Iterator[str]:
    begin = f"complete -c {PROGRAM}"
    yield f"{begin} -f"
    for option in GLOBAL_OPTIONS:
        yield f"{begin} -n __fish_use_subcommand {_fish_option(option)}"
    for command in COMMANDS:
        yield f"{begin} -n __fish_use_subcommand -a {command.name} -d {_fish_quoted(command.summary)}"
        inside = f"{begin} -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            yield f"{inside} {_fish_option(option)}"
        if takes_id(command):
            yield f"{inside} -a '({PROGRAM} list --quiet 2>/dev/null)'"
        elif command.name in _operands():
            yield f"{inside} -a '{' '.join(_operands()[command.name])}'"


def _fish_option(option: Option) -> str:
    names = " ".join(f"-l {name[2:]}" if name[1] == "-" else f"-s {name[1:]}" for name in option.names)
    value = ""
    if option.choices:
        value = f" -x -a '{' '.join(option.choices)}'"
    elif option.value:
        value = " -r -F" if option.value in _DIRECTORIES | _FILES else " -x"
    return f"{names}{value} -d {_fish_quoted(option.help)}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SHELLS: Final[dict[str, Callable[[], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
