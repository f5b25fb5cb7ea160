# Completion of capscache for fish: candidates come from `capscache complete`, which probes nothing.
function __capscache_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete -- $words[2..-1] 2>/dev/null
end
complete -c capscache -f -a '(__capscache_complete)'
