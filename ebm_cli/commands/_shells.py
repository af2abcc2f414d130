"""The scripts with which bash, zsh and fish complete: each asks the command itself."""

# A script asks `ebm completion --line LINE`: the line up to the cursor, with the command itself, as it was typed. The answer is a
# candidate a line, a tab, and what it is. A candidate is the whole last word; for bash, which replaces only what follows its last
# word break ("=", ":", ...), the script names that part as well, and gets the candidates cut to it. What may go on ends in one of
# "=./,": no space follows it.
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
    _ebm  # as a file of fpath, which becomes the function when it is first called
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
