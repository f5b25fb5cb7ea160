#compdef capscache
# Completion of capscache for zsh: candidates come from `capscache complete`, which probes nothing.
_capscache() {
    local candidate help
    local -a whole begun shown
    while IFS=$'\t' read -r candidate help; do
        if [[ $candidate == *[:/.=] ]]; then
            begun+=("$candidate")
        else
            whole+=("$candidate")
            shown+=("$candidate${help:+  -- $help}")
        fi
    done < <("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#whole )) && compadd -l -d shown -a whole
    (( $#begun )) && compadd -S '' -a begun
    (( $#whole + $#begun ))
}
if [[ $funcstack[1] == _capscache ]]; then
    _capscache "$@"
else
    compdef _capscache capscache
fi
