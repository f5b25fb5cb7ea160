# Prints each line that breaks a rule of language, with the rule; see check-language.sh. Of code only comments, strings and the
# names of tests count.

function report(rule) { printf "%s:%d: %s: %s\n", FILENAME, FNR, rule, $0 }

FNR == 1 {
    in_doc = in_string = in_recording = 0
    is_code = FILENAME ~ /\.(rs|go|awk)$/
}

# Output that was recorded in a document stays as it was.
FILENAME ~ /\.md$/ && /^ *```/ { in_recording = /^ *```text$/ }
in_recording { next }

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
    # The name of a test is a sentence, of four words or more; that of a function is shorter.
    if (match($0, /fn [a-z0-9]+_[a-z0-9]+_[a-z0-9]+_[a-z0-9_]+/)) {
        name = substr($0, RSTART + 3, RLENGTH - 3)
        gsub(/_/, " ", name)
        words = words " " name
    }
    text = words
}

{
    gsub(/`[^`]*`/, "", text)
    text = " " text " "
}

starts_doc && /^ *\/\/[\/!] (What|Which|Who|Whom|Whose|When|Where|Why|Whether|How|As) / { report("start a doc comment with a verb or a noun") }

text ~ /[^a-z_](is|are|was|were) no [a-z]/ &&
    text !~ /[^a-z_](there (is|are|was|were) no|(is|are|was|were) no (longer|more|less|other|later|earlier|fewer)) / {
    report("negate with not")
}

text ~ /[^a-z_](tell|tells|telling|told|hear|hears|hearing|heard)[^a-z_]/ { report("software reports and receives") }

text ~ /[^a-z_](ask|asks|asked|asking)[^a-z_]/ { report("software queries, requests and probes") }

text ~ /[^a-z_](look|looks|looked|looking)[^a-z_]/ { report("software checks, examines and reads; the noun is lookup") }

# systemd has directories that end in .wants.
text ~ /[^a-z_.](believe[sd]?|believing|wish|wishes|wished|wishing|want|wants)[^a-z_]/ { report("software trusts, requires and requests") }

text ~ /[^a-z_]((some|any|no|every)body|(some|any|every)one)[^a-z_]/ { report("name the user, the caller or the process") }

text ~ /[^a-z_]in the place of[^a-z_]/ { report("write: in place of") }
