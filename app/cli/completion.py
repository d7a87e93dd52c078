"""The scripts that tell bash, zsh and fish what to offer: each walks along the typed words, to the offer there.

The words lead on from offer to offer; options and versions that are there already are not offered again. What is no
word of the command (a value, a slip) changes nothing, but nothing is offered after a first word that no command has.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Final

from app.cli.entry import Arguments
from app.cli.usage_text import Usage, read_usage
from app.deploy.drain import OnTimeout
from app.state.model import VERSIONS

__all__ = ["completion_script"]

_CHOICES: Final = {"WHAT": tuple(OnTimeout)}
"""The words that a value is one of, by its placeholder."""

_VERSION_WORDS: Final = " | ".join(VERSIONS)


def completion_script(doc: str, program: str, arguments: Arguments) -> str:
    """The script for the shell that the arguments name, made from the program's help."""
    render = next(render for shell, render in _RENDERERS.items() if arguments[shell])
    return render(read_usage(doc, program))


def _quoted(*words: str) -> str:
    return " ".join(map(shlex.quote, words))


def _names(usage: Usage, path: str) -> list[str]:
    offer = usage.offers[path]
    return [*offer.words, *(VERSIONS if offer.versions else ()), *offer.options]


def _paths(usage: Usage) -> list[str]:
    """The words that lead on, one after the other."""
    return [path for path in usage.offers if path]


def _valued(usage: Usage, ways: Mapping[str, str], choices: str) -> list[tuple[str, str]]:
    """For each option whose values can be offered: itself, and the shell's way to offer them."""
    ways = {**ways, **{kind: choices.format(words=" ".join(words)) for kind, words in _CHOICES.items()}}
    return [(option, ways[kind]) for option, kind in usage.values.items() if kind in ways]


def _filled(template: str, usage: Usage, offered: Callable[[Usage, str], str], case: str, values: list[str]) -> str:
    """The script of a shell with `case`: its template with one case for each offer, and one for each value."""
    offers = (f"        {case}{shlex.quote(path)}) offered=({offered(usage, path)}) ;;" for path in usage.offers)
    return template.format(
        program=usage.program,
        versions=_VERSION_WORDS,
        paths=" | ".join(_paths(usage)),
        offers="\n".join(offers),
        repeatable=" | ".join(sorted(usage.repeatable)) or "''",
        values="\n".join(values),
    )


def _bash(usage: Usage) -> str:
    ways = {"DIR": "-d", "FILE": "-f"}
    values = [
        f'        {option}*) mapfile -t COMPREPLY < <(compgen {way} -- "$value") ;;'
        for option, way in _valued(usage, ways, "-W '{words}'")
    ]
    return _filled(_BASH, usage, _bash_offered, "", [*values, "        *=*) ;;"])


def _bash_offered(usage: Usage, path: str) -> str:
    return _quoted(*_names(usage, path))


_BASH: Final = """\
# What bash offers after {program}; made from its usage text by `{program} completion bash`.
_{program}() {{
    local words=() word at="" version="" given=" " offered=() cur value joins=""
    # Bash parts words at "=" and gives the sign as a word of its own.
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD}}"; do
        if [[ ($word == = || $joins) && ${{#words[@]}} -gt 0 ]]; then
            words[${{#words[@]}} - 1]+=$word
        else
            words+=("$word")
        fi
        joins=""
        [[ $word != = ]] || joins=yes
    done
    cur=${{words[${{#words[@]}} - 1]}}
    for word in "${{words[@]:0:${{#words[@]}}-1}}"; do
        case $word in
        -*) given+="${{word%%=*}} " ;;
        {versions}) version=$word ;;
        *) case $at/$word in
            {paths}) at+=/$word ;;
            *) at=${{at:-unknown}} ;;
            esac ;;
        esac
    done
    COMPREPLY=()
    if [[ $cur == --*=* ]]; then
        value=${{cur#*=}}
        case $cur in
{values}
        esac
        [[ ! -e ${{COMPREPLY[0]}} ]] || compopt -o filenames 2> /dev/null
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${{COMPREPLY[@]/#/${{cur%%=*}}=}}")
        return
    fi
    case $at in
{offers}
    esac
    for word in "${{offered[@]}}"; do
        [[ $word == "$cur"* ]] || continue
        case $word in
        {versions}) [[ -z $version ]] || continue ;;
        {repeatable}) ;;
        -*) [[ $given != *" ${{word%=}} "* ]] || continue ;;
        esac
        COMPREPLY+=("$word")
    done
    if [[ ${{#COMPREPLY[@]}} -eq 1 && ${{COMPREPLY[0]}} == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
}}
complete -F _{program} {program}
"""


def _zsh(usage: Usage) -> str:
    ways = {"DIR": "_files -/", "FILE": "_files"}
    values = [
        f"        ({option}*) compset -P {option}; {way}; return ;;"
        for option, way in _valued(usage, ways, "compadd -- {words}")
    ]
    return _filled(_ZSH, usage, _zsh_offered, "(", [*values, "        (--*=*) return 1 ;;"])


def _zsh_offered(usage: Usage, path: str) -> str:
    """The candidates as `_describe` takes them: name, colon, sentence."""
    return _quoted(*(":".join(filter(None, [name, usage.about(name)])) for name in _names(usage, path)))


_ZSH: Final = """\
#compdef {program}
# What zsh offers after {program}; made from its usage text by `{program} completion zsh`.
_{program}() {{
    local word at= version=
    local -a given offered plain valued
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case $word in
            (-*) given+=("${{word%%=*}}") ;;
            ({versions}) version=$word ;;
            (*) case $at/$word in
                ({paths}) at+=/$word ;;
                (*) at=${{at:-unknown}} ;;
            esac ;;
        esac
    done
    case $PREFIX in
{values}
    esac
    case $at in
{offers}
    esac
    for word in "${{(@)offered}}"; do
        case ${{word%%:*}} in
            ({versions}) [[ -z $version ]] || continue ;;
            ({repeatable}) ;;
            (-*) (( ! ${{given[(Ie)${{${{word%%:*}}%=}}]}} )) || continue ;;
        esac
        if [[ ${{word%%:*}} == *= ]]; then valued+=("$word"); else plain+=("$word"); fi
    done
    local -i ret=1
    _describe -t words word plain && ret=0
    _describe -t options option valued -S '' && ret=0
    return ret
}}
if [[ $funcstack[1] == _{program} ]]; then
    _{program} "$@"
else
    (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
    compdef _{program} {program}
fi
"""


def _fish(usage: Usage) -> str:
    ways = {"DIR": '-x -a \'(__fish_complete_directories (commandline -ct | string replace -r "^--[a-z-]+=" ""))\''}
    ways |= {"FILE": "-r -F"}
    values = dict(_valued(usage, ways, "-x -a '{words}'"))
    lines: list[str] = []
    for path, offer in usage.offers.items():
        here = f"complete -c {usage.program} -n '__{usage.program}_at {path or '/'}"
        lines += [f"{here}' -a {word}{_fish_about(usage, word)}" for word in offer.words]
        if offer.versions:
            lines.append(f"{here} version' -a {_quoted(' '.join(VERSIONS))}")
        for option in offer.options:
            way = values.get(option, "-x") if option.endswith("=") else ""
            once = "" if option in usage.repeatable else f" {option}"
            name = option.strip("-=")
            lines.append(" ".join(filter(None, [f"{here}{once}' -l {name}", way])) + _fish_about(usage, option))
    return _FISH.format(
        program=usage.program, versions=" ".join(VERSIONS), paths=" ".join(_paths(usage)), lines="\n".join(lines)
    )


def _fish_about(usage: Usage, name: str) -> str:
    about = usage.about(name).replace("\\", "\\\\").replace("'", "\\'")
    return f" -d '{about}'" if about else ""


_FISH: Final = """\
# What fish offers after {program}; made from its usage text by `{program} completion fish`.
function __{program}_at -a wanted once -d 'Whether the typed words lead there, and `once` is not among them'
    set -l at ''
    set -l given
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if string match -q -- '--*=*' $word
            set -a given (string replace -r '=.*' '=' -- $word)
        else if string match -q -- '-*' $word
            set -a given $word $word=
        else if contains -- $word {versions}
            set -a given version
        else if contains -- $at/$word {paths}
            set at $at/$word
        else if test -z $at
            set at unknown
        end
    end
    # The last option may still want its value, which may also be a word of its own.
    string match -qr -- '^--[a-z-]+$' $words[-1]; and set -e given[-1]
    test -n "$at"; or set at /
    test "$at" = "$wanted"; and not contains -- "$once" $given
end
complete -c {program} -f
{lines}
"""


_RENDERERS: Final[Mapping[str, Callable[[Usage], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
