"""The completion scripts of bash, zsh and fish. Each asks the `ebm` command for the candidates."""

# A script runs `ebm completion --line LINE`, where LINE is the line as typed, from the command to the cursor. The answer has one candidate
# per line, followed by a tab and its description. A candidate replaces the whole last word. Bash replaces only the part after its last
# word break ("=", ":", ...), so its script passes that part as well and receives the candidates cut to it. A candidate that ends in one
# of "=./," can be continued: no space is put after it.
BASH = r"""_ebm() {
    local candidate
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do COMPREPLY+=("$candidate"); done \
        < <("${1/#\~/$HOME}" completion --line "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=./,] ]]; then compopt -o nospace; fi
}
complete -o nosort -F _ebm ebm 2>/dev/null || complete -F _ebm ebm
"""

ZSH = r"""#compdef ebm
_ebm() {
    local answer
    local -a whole whole_shown open open_shown
    for answer in "${(@f)$(${~words[1]} completion --line "${(j: :)words[1,CURRENT-1]} $QIPREFIX$IPREFIX$PREFIX" 2>/dev/null)}"; do
        if [[ ${answer%%$'\t'*} == *[=./,] ]]; then
            open+=("${answer%%$'\t'*}") open_shown+=("${answer/$'\t'/  }")
        elif [[ -n $answer ]]; then
            whole+=("${answer%%$'\t'*}") whole_shown+=("${answer/$'\t'/  }")
        fi
    done
    compadd -l -V ebm -d whole_shown -a whole
    compadd -l -V ebm -S '' -d open_shown -a open
}
if [[ $funcstack[1] == _ebm ]]; then
    _ebm  # autoloaded from fpath: the file itself is the function at its first call
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _ebm ebm
fi
"""

FISH = r"""function __ebm
    set -l command (commandline -opc)[1]
    set command (string replace -r '^~' $HOME -- $command)
    $command completion --line (commandline -cp | string collect) 2>/dev/null
end
complete -c ebm -f -k -a '(__ebm)'
"""

SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
