# The imports among the modules of the crate whose files these are; see check-modules.sh.

# The folder or file a module lies in, as a path from the crate's root: "" for the root itself, "store::lock".
function module_of(file) {
    sub(/^.*src\//, "", file)
    sub(/(^|\/)(lib|main|mod)\.rs$/, "", file)
    sub(/\.rs$/, "", file)
    gsub(/\//, "::", file)
    return file
}

function join(module, name) { return module == "" ? name : name == "" ? module : module "::" name }

function parent(module) { return sub(/::[^:]*$/, "", module) ? module : "" }

# The path from the crate's root of what `path` means in `module`, or "-" where that is another crate.
function absolute(module, path, first) {
    sub(/^\$?crate::/, "crate::", path)
    for (;;) {
        first = path
        sub(/::.*/, "", first)
        if (first == "crate") module = ""
        else if (first == "super") module = parent(module)
        else if (first != "self") return join(module, first) in is_module || used ? join(module, path) : "-"
        if (!sub(/^[^:]*::/, "", path)) return module
        used = 1
    }
}

# The module that defines what an absolute path names, through the imports of the modules on the way.
function definer(path, depth, parts, count, i, module, next_one) {
    count = split(path, parts, "::")
    module = ""
    for (i = 1; i <= count; i++) {
        next_one = join(module, parts[i])
        if (next_one in is_module) module = next_one
        else if ((module, parts[i]) in imported && depth < 8) return definer(imported[module, parts[i]], depth + 1)
        else break
    }
    return module
}

# Notes a path that `module` uses; in a `use` it also gives its last name, or `alias`, to the module.
function note(module, path, in_use, alias) {
    gsub(/ /, "", path)
    used = 0
    path = absolute(module, path)
    if (path == "-") return
    sub(/::self$/, "", path)
    if (in_use && path !~ /\*$/) {
        if (alias == "") { alias = path; sub(/^.*::/, "", alias) }
        if (alias != "_" && !((module, alias) in imported)) imported[module, alias] = path
    }
    paths[++path_count] = path
    users[path_count] = module
}

# Expands the braces of a `use`.
function expand(module, prefix, tree, brace, level, i, c, start, alias) {
    sub(/^ +/, "", tree)
    sub(/ +$/, "", tree)
    brace = index(tree, "{")
    if (!brace) {
        if (match(tree, / as /)) { alias = substr(tree, RSTART + 4); tree = substr(tree, 1, RSTART - 1) }
        if (tree != "") note(module, prefix tree, 1, alias)
        return
    }
    prefix = prefix substr(tree, 1, brace - 1)
    start = brace + 1
    for (i = brace + 1; i <= length(tree); i++) {
        c = substr(tree, i, 1)
        if (c == "{") level++
        if ((c == "," && !level) || (c == "}" && !level)) {
            expand(module, prefix, substr(tree, start, i - start))
            start = i + 1
        }
        if (c == "}") level--
    }
}

FNR == 1 {
    module = module_of(FILENAME)
    is_module[module]
    order[++module_count] = module
    pending = skipping = 0
}

{
    line = $0
    gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
    sub(/\/\/.*/, "", line)
}

# Code of tests, to the end of the item.
skipping { if (index(line, indent "}") == 1) skipping = 0; next }
line ~ /^ *#\[cfg\((all\()?test[,)]/ { pending = 1; next }
pending && line ~ /^ *(#\[.*)?$/ { next }
pending {
    pending = 0
    if (match(line, /mod [a-z_0-9]+;/)) is_test[join(module, substr(line, RSTART + 4, RLENGTH - 5))]
    skipping = line !~ /[;}]$/
    match(line, /^ */)
    indent = substr(line, 1, RLENGTH)
    next
}
{ code[module] = code[module] " " line }

END {
    for (m = 1; m <= module_count; m++) {
        module = order[m]
        for (name in is_test)
            if (module == name || index(module, name "::") == 1) code[module] = ""
        text = code[module]
        while (match(text, /(^|[;{}) ])use [^;]*;/)) {
            statement = substr(text, RSTART, RLENGTH - 1)
            rest = substr(text, RSTART + RLENGTH)
            text = substr(text, 1, RSTART) ";" rest
            sub(/^[;{}) ]?use /, "", statement)
            expand(module, "", statement)
        }
        while (match(text, /(crate|super|self)::[A-Za-z0-9_:]+/)) {
            note(module, substr(text, RSTART, RLENGTH), 0)
            text = substr(text, RSTART + RLENGTH)
        }
    }
    for (p = 1; p <= path_count; p++) edge(users[p], definer(paths[p], 0))
    report()
}

# Notes that a module uses another: as siblings in the innermost folder that holds both.
function edge(from, to, a, b, i, folder) {
    split(from, a, "::")
    split(to, b, "::")
    folder = ""
    for (i = 1; a[i] != "" && a[i] == b[i]; i++) folder = join(folder, a[i])
    if (a[i] == "" || b[i] == "") return
    uses[join(folder, a[i]), join(folder, b[i])]
    nodes[join(folder, a[i])]
    nodes[join(folder, b[i])]
}

function report(count, i, j, k, list, name, crate, a, b, c, cycle, found) {
    crate = FILENAME
    sub(/src\/.*/, "src", crate)
    sub(/^\.\//, "", crate)
    for (m = 1; m <= module_count; m++) if (order[m] in nodes) list[++count] = order[m]
    for (i = 1; i <= count; i++) {
        found = ""
        for (j = 1; j <= count; j++)
            if ((list[i], list[j]) in uses) {
                name = list[j]
                sub(/^.*::/, "", name)
                found = found (found == "" ? "" : ", ") name
                reach[list[i], list[j]]
            }
        if (found != "") printf "%s: %s → %s\n", crate, list[i], found
    }
    for (k = 1; k <= count; k++)
        for (i = 1; i <= count; i++)
            if ((list[i], list[k]) in reach)
                for (j = 1; j <= count; j++)
                    if ((list[k], list[j]) in reach) reach[list[i], list[j]]
    for (i = 1; i <= count; i++) {
        a = list[i]
        if (!((a, a) in reach) || a in reported) continue
        cycle = ""
        for (j = 1; j <= count; j++) {
            b = list[j]
            if (((a, b) in reach) && ((b, a) in reach)) { reported[b]; cycle = cycle (cycle == "" ? "" : ", ") b }
        }
        printf "%s: cycle: %s\n", crate, cycle > "/dev/stderr"
        failed = 1
    }
    exit failed
}
