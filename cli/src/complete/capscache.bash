# Completion of capscache for bash: candidates come from `capscache complete`, which probes nothing.
_capscache() {
    local line=${COMP_LINE:0:COMP_POINT} current tail words candidate
    # Not COMP_WORDS: a query is one word, and bash splits it at its colon.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    current=${words[${#words[@]} - 1]}
    # What bash replaces begins behind the last character at which it splits.
    tail=${current##*["$COMP_WORDBREAKS"]}
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        COMPREPLY+=("${candidate:${#current} - ${#tail}}")
    done < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:/.=] ]] && compopt -o nospace
    return 0
}
complete -F _capscache capscache
