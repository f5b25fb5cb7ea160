# Prints each line that breaks a rule of language, with the rule; see check-language.sh. Of code only comments and strings count.

function report(rule) { printf "%s:%d: %s: %s\n", FILENAME, FNR, rule, $0 }

FNR == 1 {
    in_doc = in_string = 0
    is_code = FILENAME ~ /\.(rs|awk)$/
}

{
    starts_doc = /^ *\/\/[\/!]/ && !in_doc
    in_doc = /^ *\/\/[\/!]/
    text = tolower($0)
}

# A string may go on from line to line; an item at the margin ends what was only taken for one.
is_code {
    if (/^[a-z#}\/]/) in_string = 0
    gsub(/'\\?"'|\\"/, "", text)
    if (in_string) text = "\"" text
    words = ""
    while (match(text, /"[^"]*("|$)|\/\/.*/)) {
        word = substr(text, RSTART, RLENGTH)
        words = words " " word
        in_string = word ~ /^"[^"]*$/
        text = substr(text, RSTART + RLENGTH)
    }
    text = words
}

{
    gsub(/`[^`]*`/, "", text)
    text = " " text " "
}

starts_doc && /^ *\/\/[\/!] (What|Who|Whom|Whose|Where|As) / { report("start a doc comment with a verb or a noun") }

text ~ /[^a-z_](is|are|was|were) no [a-z]/ &&
    text !~ /[^a-z_](there (is|are|was|were) no|(is|are|was|were) no (longer|more|less|other|later|earlier|fewer)) / {
    report("negate with not")
}

text ~ /[^a-z_](tell|tells|telling|told|hear|hears|hearing|heard)[^a-z_]/ { report("software reports and receives") }
